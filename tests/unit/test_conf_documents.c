/*
 * Holds sockd.conf(5) and the shipped etc/sockd.conf against the table of keys. Reads them from the tree,
 * which is the working directory, or SOCKD_TREE.
 */
#include "conf_try.h"

#include "base/fd.h"
#include "conf_key.h"

static char *read_document(const char *name)
{
    const char *tree = getenv("SOCKD_TREE");
    char *path, *text;
    size_t len;

    assert_true(asprintf(&path, "%s/%s", tree ? tree : ".", name) > 0);
    if (fd_read_file(path, 1 << 20, &text, &len, NULL) < 0)
        fail_msg("cannot read %s; the tests run from the top of the tree", path);
    free(path);
    return text;
}

/* What roff prints for TEXT. In new memory. */
static char *plain(const char *text)
{
    static const struct {
        const char *roff, *plain;
    } escapes[] = { { "\\(dq", "\"" }, { "\\e", "\\" }, { "\\&", "" }, { "\\-", "-" } };
    char *ret = NULL;
    FILE *out = open_text(&ret);

    while (*text) {
        size_t used = 0;

        for (size_t i = 0; !used && i < sizeof(escapes) / sizeof(escapes[0]); i++)
            if (strncmp(text, escapes[i].roff, strlen(escapes[i].roff)) == 0) {
                used = strlen(escapes[i].roff);
                fputs(escapes[i].plain, out);
            }
        if (!used)
            fputc(*text, out);
        text += used ? used : 1;
    }
    fclose(out);
    return ret;
}

/* Calls `on_line` with each line of the document in turn. */
static void each_line(const char *name, void (*on_line)(const char *line, void *owner), void *owner)
{
    char *text = read_document(name), *rest = text, *line;

    while ((line = strsep(&rest, "\n")))
        on_line(line, owner);
    free(text);
}

#define ITEM ".It Ic "

/* ".It Ic backlog = 4096" as "backlog = 4096"; NULL for another line. */
static char *item(const char *line)
{
    return strncmp(line, ITEM, strlen(ITEM)) == 0 ? plain(line + strlen(ITEM)) : NULL;
}

static void find_item(const char *line, void *owner)
{
    const char **wanted = owner;
    char *text = item(line);

    if (text && *wanted && strcmp(text, *wanted) == 0)
        *wanted = NULL;
    free(text);
}

static void test_manual_has_every_key_with_its_default(void **state)
{
    (void)state;
    for (const struct conf_key *key = conf_keys; key->name; key++) {
        char *text;
        const char *wanted;

        assert_true(asprintf(&text, "%s%s%s", key->name, key->preset ? " = " : "",
                             key->preset ? key->preset : "") > 0);
        wanted = text;
        each_line("etc/sockd.conf.5", find_item, &wanted);
        if (wanted)
            fail_msg("sockd.conf(5) has no item \"%s\"", wanted);
        free(text);
    }
}

static void know_item(const char *line, void *owner)
{
    char *text = item(line);
    bool old;

    (void)owner;
    if (!text)
        return;
    text[strcspn(text, " ")] = '\0';
    if (!conf_key_find(conf_keys, text, &old))
        fail_msg("sockd.conf(5) has a key \"%s\", which there is not", text);
    free(text);
}

static void test_manual_has_no_other_key(void **state)
{
    (void)state;
    each_line("etc/sockd.conf.5", know_item, NULL);
}

/* An example while it is collected. */
struct example {
    FILE *out;
    char *text;
    unsigned n;
};

/* The first line says where it would stand. */
static void load_example(const char *text)
{
    char *whole = NULL;

    if (strncmp(text, "# /etc/sockd.d/", 15) == 0)
        assert_true(asprintf(&whole, "services: { example: {\n%s}; };", text) > 0);
    conf_unref(try_text(whole ? whole : text, NULL));
    free(whole);
}

static void collect_example(const char *line, void *owner)
{
    struct example *example = owner;

    if (strncmp(line, ".Bd -literal", 12) == 0) {
        example->out = open_text(&example->text);
    } else if (strcmp(line, ".Ed") == 0 && example->out) {
        char *text;

        fclose(example->out);
        example->out = NULL;
        text = plain(example->text);
        load_example(text);
        free(text);
        free(example->text);
        example->n++;
    } else if (example->out) {
        fprintf(example->out, "%s\n", line);
    }
}

static void test_every_example_of_the_manual_loads(void **state)
{
    struct example example = { .n = 0 };

    (void)state;
    each_line("etc/sockd.conf.5", collect_example, &example);
    assert_null(example.out);
    assert_true(example.n >= 3);
}

static void test_shipped_file_loads(void **state)
{
    char *text = read_document("etc/sockd.conf");
    struct conf *conf = try_text(text, NULL);

    (void)state;
    assert_int_equal(conf->n_services, 1);
    assert_string_equal(conf->services[0].name, "echo");
    assert_string_equal(conf->services[0].host.item[0], "localhost");
    assert_int_equal(conf->services[0].port, 50000);
    conf_unref(conf);
    free(text);
}

/* "#key" and the braces of an example are settings; "# word" is a comment. */
static const char *commented_setting(const char *line)
{
    line += strspn(line, " ");
    return line[0] == '#' && line[1] != '\0' && strchr(" #", line[1]) == NULL ? line + 1 : NULL;
}

static void write_uncommented(const char *line, void *owner)
{
    const char *setting = commented_setting(line);

    fprintf(owner, "%s\n", setting ? setting : line);
}

static void test_shipped_file_loads_with_everything_uncommented(void **state)
{
    char *text = NULL;
    FILE *out = open_text(&text);
    struct conf *conf;

    (void)state;
    each_line("etc/sockd.conf", write_uncommented, out);
    fclose(out);
    conf = try_text(text, NULL);
    assert_true(conf->n_services > 3);
    conf_unref(conf);
    free(text);
}

/* At top level, "#key = value;" shows the default. */
static void check_default(const char *line, void *owner)
{
    const char *setting = line[0] == '#' ? commented_setting(line) : NULL;
    unsigned *n_daemon = owner;
    char name[64], value[64];
    const struct conf_key *key;
    bool old;

    if (!setting)
        return;
    assert_int_equal(sscanf(setting, "%63[a-z_] = %63[^;];", name, value), 2);
    key = conf_key_find(conf_keys, name, &old);
    assert_non_null(key);
    assert_string_equal(value, key->preset);
    *n_daemon += key->scope == CONF_DAEMON;
}

static void test_shipped_file_shows_every_daemon_key_with_its_default(void **state)
{
    unsigned shown_keys = 0, keys = 0;

    (void)state;
    each_line("etc/sockd.conf", check_default, &shown_keys);
    for (const struct conf_key *key = conf_keys; key->name; key++)
        keys += key->scope == CONF_DAEMON;
    assert_int_equal(shown_keys, keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manual_has_every_key_with_its_default),
        cmocka_unit_test(test_manual_has_no_other_key),
        cmocka_unit_test(test_every_example_of_the_manual_loads),
        cmocka_unit_test(test_shipped_file_loads),
        cmocka_unit_test(test_shipped_file_loads_with_everything_uncommented),
        cmocka_unit_test(test_shipped_file_shows_every_daemon_key_with_its_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
