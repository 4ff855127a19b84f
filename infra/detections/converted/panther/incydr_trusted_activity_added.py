def rule(event):
    return all([any(value is not None for value in [event.deep_get("activityId")]), not any(value is True for value in [event.deep_get("_deleted")])])


def title(event):
    return 'Trusted activity added or changed'
