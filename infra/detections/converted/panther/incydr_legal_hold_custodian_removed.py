def rule(event):
    return all([any(value is not None and str(value).lower() == 'custodians' for value in [event.deep_get("_list")]), any(value is True for value in [event.deep_get("_deleted")])])


def title(event):
    return 'Custodian gone from legal hold'
