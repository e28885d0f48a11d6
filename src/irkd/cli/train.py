def train() -> None:
    """(being built)"""
