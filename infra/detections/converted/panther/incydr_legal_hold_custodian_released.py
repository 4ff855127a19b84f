def rule(event):
    return all([any(value is not None and str(value).lower() == 'custodians' for value in [event.deep_get("_list")]), any(value is False for value in [event.deep_get("membershipActive")])])


def title(event):
    return 'Custodian released from legal hold'
