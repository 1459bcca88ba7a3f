/* What a person reads when the KVM engine cannot run: with files in place of the host's. */
#include "engine/kvm/kvm_engine.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/atoll-kvm-probe-XXXXXX";
static char cpuinfo[64], device[64];

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int make_directory(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(cpuinfo, sizeof(cpuinfo), "%s/cpuinfo", directory);
	snprintf(device, sizeof(device), "%s/kvm", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(cpuinfo);
	unlink(device);
	rmdir(directory);
	return 0;
}

static void assert_refused(enum exit_code exit_code, const char *part)
{
	struct error err = { 0 };

	assert_true(kvm_probe_open(cpuinfo, device, &err) < 0);
	assert_int_equal(err.exit_code, exit_code);
	assert_non_null(strstr(err.text, part));
	assert_non_null(strstr(err.text, "--engine soft"));
	assert_null(strchr(err.text, '\n'));
}

static void test_no_hardware(void **state)
{
	(void)state;
	write_file(device, "");
	unlink(cpuinfo);
	assert_refused(EXIT_CODE_UNAVAILABLE, "no hardware virtualization");
	/* Words that only contain the flag are not the flag, and other lines do not count. */
	write_file(cpuinfo, "model name : svm vmx\nflags\t\t: fpu svm_lock avmx\nvmx flags : x\n");
	assert_refused(EXIT_CODE_UNAVAILABLE, "no hardware virtualization");
}

static void test_no_device(void **state)
{
	(void)state;
	write_file(cpuinfo, "processor : 0\nflags\t\t: fpu vmx de\n");
	unlink(device);
	assert_refused(EXIT_CODE_UNAVAILABLE, "load the kernel module");
}

static void test_no_permission(void **state)
{
	uid_t user = geteuid();

	(void)state;
	write_file(cpuinfo, "flags\t\t: fpu svm\n");
	write_file(device, "");
	chmod(device, 0);
	chmod(directory, 0755);
	/* Root may open anything, so not as root. */
	if (user == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_refused(EXIT_CODE_PERMISSION, "join the group kvm");
	assert_int_equal(seteuid(user), 0);
}

static void test_not_kvm(void **state)
{
	(void)state;
	write_file(cpuinfo, "flags\t\t: svm\n");
	write_file(device, "");
	assert_refused(EXIT_CODE_UNAVAILABLE, "not a KVM device");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_hardware),
		cmocka_unit_test(test_no_device),
		cmocka_unit_test(test_no_permission),
		cmocka_unit_test(test_not_kvm),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
