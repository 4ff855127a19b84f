def rule(event):
    return any(isinstance(value, (int, float)) and value >= 1 for value in [event.deep_get("stuck", "count")])


def title(event):
    return "The collector can't read something"
