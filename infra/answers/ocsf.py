def views():
    return ()


def page():
    return ""
