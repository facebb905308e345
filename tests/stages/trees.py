"""What lies under a folder."""


def tree(folder):
    """The bytes of every file but the locks."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def but(files, *names):
    """The files without some."""
    return {name: content for name, content in files.items() if name not in names}
