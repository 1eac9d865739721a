/*
 * The one table of configuration keys. A row is the whole truth about its key: the reading, the checks, the
 * effective configuration, and the test of the manual page and the shipped file all go by it.
 */
#ifndef SOCKD_CONF_KEY_H
#define SOCKD_CONF_KEY_H

#include "conf.h"
#include "conf_value.h"

enum conf_scope {
    CONF_DAEMON,  /* a member of struct conf; at top level of the main file only */
    CONF_SERVICE, /* a member of struct service; at top level of the main file it is the default */
};

struct conf_key {
    const char *name;
    const char *old_name; /* still read, with a warning; NULL: none */
    enum conf_scope scope;
    const struct conf_type *type;
    size_t offset;            /* of the member */
    int64_t lo, hi;           /* numbers, times in ms, sizes in bytes; both included */
    const char *unit;         /* of a plain number, for messages */
    const char *const *words; /* conf_type_word */
    const char *preset;       /* the default, as the type prints it; NULL: none */
    uint32_t handlers;   /* a service key: which handlers it means something for, 1 << enum handler_kind */
    uint32_t transports; /* and which transports, 1 << enum transport */
    bool (*serves)(const struct service *service); /* and whether it does otherwise; NULL: always */
    /* As the type prints, without secrets; NULL: it has none. */
    void (*print_public)(const void *field, FILE *out);
    const char *unless; /* where `serves` is false, after "means nothing" */
    const char *help;   /* what it says, after the name and a colon */
};

/* Ends with a row without a name. */
extern const struct conf_key conf_keys[];

/* The row of a name in KEYS, a table as above; *RET_OLD says whether it is the older name. NULL: none. */
const struct conf_key *conf_key_find(const struct conf_key *keys, const char *name, bool *ret_old);

static inline void *conf_key_field(const struct conf_key *key, void *base)
{
    return (char *)base + key->offset;
}

/* Whether the key means something for the service. */
bool conf_key_serves(const struct conf_key *key, const struct service *service);

/* The value as it stands in a file, in new memory; NULL without memory. BASE is the struct of the key's
 * scope. */
char *conf_key_text(const struct conf_key *key, const void *base, enum conf_view view);

#endif
