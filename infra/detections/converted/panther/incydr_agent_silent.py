def rule(event):
    return any([any(value is not None and str(value).lower() == 'silent_agent' for value in [event.deep_get("finding")]), any(value is not None and str(value).lower() == 'unhealthy_agent' for value in [event.deep_get("finding")])])


def title(event):
    return 'Agent that reports nothing, or is ill'
