/*
 * vm.yaml: what is read from it, what is written to it, and each mistake with its place.
 */
#include "bundle/spec.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void parse(struct spec *spec, const char *text)
{
	struct error err = { 0 };

	if (spec_parse(spec, text, strlen(text), "vm.yaml", &err))
		fail_msg("%s", err.text);
}

static void assert_entry(
	const struct spec *spec, unsigned index, const char *key, const char *value, bool quoted)
{
	assert_true(index < spec->nr_entries);
	assert_string_equal(spec->entries[index].key, key);
	assert_string_equal(spec->entries[index].value, value);
	assert_int_equal(spec->entries[index].quoted, quoted);
}

static void test_values(void **state)
{
	struct spec spec;

	(void)state;
	parse(&spec, "# a comment\n"
		     "kernel: /boot/vmlinuz\n"
		     "append: \"console=ttyS0 # no comment\"\n"
		     "no-reboot: true\n"
		     "initrd:\n  - a\n  - 'b c'\n");
	assert_int_equal(spec.nr_entries, 5);
	assert_entry(&spec, 0, "kernel", "/boot/vmlinuz", false);
	assert_entry(&spec, 1, "append", "console=ttyS0 # no comment", true);
	assert_entry(&spec, 2, "no-reboot", "true", false);
	assert_entry(&spec, 3, "initrd", "a", false);
	assert_entry(&spec, 4, "initrd", "b c", true);
	assert_int_equal(spec.entries[4].line, 7);
	assert_int_equal(spec.entries[4].column, 5);
	spec_finish(&spec);
}

static void test_empty(void **state)
{
	static const char *const texts[] = { "", "\n", "# nothing\n", "---\n", "{}\n" };

	(void)state;
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct spec spec;

		parse(&spec, texts[i]);
		assert_int_equal(spec.nr_entries, 0);
		spec_finish(&spec);
	}
}

static void assert_mistake(const char *text, const char *place, const char *part)
{
	struct error err = { 0 };
	struct spec spec;

	assert_int_not_equal(spec_parse(&spec, text, strlen(text), "vm.yaml", &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_BAD_FILE);
	if (strncmp(err.text, place, strlen(place)) != 0 || !strstr(err.text, part))
		fail_msg("%s", err.text);
	assert_int_equal(spec.nr_entries, 0);
}

static void test_mistakes(void **state)
{
	(void)state;
	assert_mistake("a: 1\na: 2\n", "vm.yaml:2:1: ", "'a' is here twice");
	assert_mistake("a: [1]\na: 2\n", "vm.yaml:2:1: ", "'a' is here twice");
	assert_mistake("a: &x 1\n", "vm.yaml:1:4: ", "anchors");
	assert_mistake("a: 1\nb: *a\n", "vm.yaml:2:4: ", "anchors");
	assert_mistake("a: !!int 1\n", "vm.yaml:1:4: ", "tags");
	assert_mistake("a: {b: c}\n", "vm.yaml:1:4: ", "a text or a list");
	assert_mistake("a: [[b]]\n", "vm.yaml:1:5: ", "a text or a list");
	assert_mistake("[a]: b\n", "vm.yaml:1:1: ", "a key is the name of an option");
	assert_mistake("- a\n", "vm.yaml:1:1: ", "'key: value'");
	assert_mistake("just words\n", "vm.yaml:1:1: ", "'key: value'");
	assert_mistake("a: 1\n---\nb: 2\n", "vm.yaml:2:1: ", "second document");
	assert_mistake("a: 'unclosed\n", "vm.yaml:", "not YAML");
	assert_mistake("a: \"\\0\"\n", "vm.yaml:1:4: ", "zero byte");
	assert_mistake("\tkey: tab\n", "vm.yaml:1:1: ", "not YAML");
}

/* Nine levels of nine aliases each would be 387 million values. */
static void test_bomb(void **state)
{
	(void)state;
	assert_mistake("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n",
		"vm.yaml:1:4: ", "anchors");
}

static void test_bounds(void **state)
{
	struct error err = { 0 };
	char *text = NULL;
	size_t size = 0;
	struct spec spec;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fputs("initrd:\n", out);
	for (unsigned i = 0; i <= SPEC_MAX_ENTRIES; i++)
		fprintf(out, "  - %u\n", i);
	fclose(out);
	assert_mistake(text, "vm.yaml:258:5: ", "more than 256 values");
	free(text);

	text = calloc(1, SPEC_MAX_BYTES + 1);
	memset(text, '#', SPEC_MAX_BYTES + 1);
	assert_int_not_equal(spec_parse(&spec, text, SPEC_MAX_BYTES + 1, "vm.yaml", &err), 0);
	assert_non_null(strstr(err.text, "larger than 65536 bytes"));
	free(text);

	/* Nesting is refused at its second level, however deep it goes. */
	text = malloc(60002);
	memcpy(text, "a:", 2);
	memset(text + 2, '[', 60000);
	err = (struct error){ 0 };
	assert_int_not_equal(spec_parse(&spec, text, 60002, "vm.yaml", &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_BAD_FILE);
	free(text);
}

/* What is written reads as what was there, whatever the values look like. */
static void test_write(void **state)
{
	static const char *const values[] = { "true", "- x", "a: b", "#", "", "\"'\\", "*a",
		"line\nline", "\xc3\xa4", " space " };
	char path[] = "/tmp/spec_test.XXXXXX";
	struct spec spec = { 0 }, again;
	struct error err = { 0 };
	int dir_fd;

	(void)state;
	assert_non_null(mkdtemp(path));
	dir_fd = open(path, O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(spec_add(&spec, "initrd", values[i], true, &err), 0);
	assert_int_equal(spec_add(&spec, "no-reboot", "true", false, &err), 0);
	assert_int_equal(spec_write(&spec, dir_fd, "vm.yaml", &err), 0);
	if (spec_read(&again, dir_fd, "vm.yaml", &err))
		fail_msg("%s", err.text);
	assert_int_equal(again.nr_entries, 11);
	for (unsigned i = 0; i < 10; i++)
		assert_entry(&again, i, "initrd", values[i], true);
	assert_entry(&again, 10, "no-reboot", "true", false);
	spec_finish(&spec);
	spec_finish(&again);

	assert_int_equal(unlinkat(dir_fd, "vm.yaml", 0), 0);
	assert_int_not_equal(spec_read(&again, dir_fd, "vm.yaml", &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_NO_FILE);
	/* Nothing else was left. */
	assert_int_equal(rmdir(path), 0);
	close(dir_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
