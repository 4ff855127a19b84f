def rule(event):
    return any(value is not None and str(value).lower() == 'archived' for value in [event.deep_get("status")])


def title(event):
    return 'Case archived, which deletes its evidence'
