def rule(event):
    return any(value is not None and 'the api keeps the oldest of it for' in str(value).lower() for value in [event.deep_get("error", "message")])


def title(event):
    return 'What is not collected yet is about to expire'
