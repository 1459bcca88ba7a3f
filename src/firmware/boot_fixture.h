/*
 * What the tests of the loaders share: a small machine, images made in memory, and a look at what
 * was loaded. Included once by each test program.
 */
#ifndef FIRMWARE_BOOT_FIXTURE_H
#define FIRMWARE_BOOT_FIXTURE_H

#include "firmware/boot_loader.h"
#include "machine/machine.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

struct fixture {
	struct guest_memory memory;
	struct cpu_state cpu;
	struct error err;
	struct boot_config config;
};

static inline void fixture_start(struct fixture *fixture, uint64_t memory_size)
{
	memset(fixture, 0, sizeof(*fixture));
	assert_int_equal(
		guest_memory_add(&fixture->memory, 0, memory_size, false, &fixture->err), 0);
}

static inline void fixture_stop(struct fixture *fixture)
{
	guest_memory_finish(&fixture->memory);
}

static inline int fixture_load(struct fixture *fixture, const uint8_t *bytes, uint64_t size)
{
	struct boot_image image = { .path = "kernel.img", .bytes = bytes, .size = size };

	fixture->err = (struct error){ 0 };
	memset(&fixture->cpu, 0, sizeof(fixture->cpu));
	return boot_load_image(
		&fixture->config, &fixture->memory, &fixture->cpu, &image, &fixture->err);
}

static inline void fixture_refuses(struct fixture *fixture, const uint8_t *bytes, uint64_t size,
	enum exit_code exit_code, const char *text)
{
	assert_true(fixture_load(fixture, bytes, size) < 0);
	assert_int_equal(fixture->err.exit_code, exit_code);
	if (!strstr(fixture->err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", fixture->err.text, text);
}

static inline const uint8_t *fixture_at(const struct fixture *fixture, gpa_t address, uint64_t size)
{
	const uint8_t *bytes = guest_memory_host(&fixture->memory, address, size);

	assert_non_null(bytes);
	return bytes;
}

static inline uint32_t fixture_get32(const struct fixture *fixture, gpa_t address)
{
	return boot_get32(fixture_at(fixture, address, 4));
}

static inline uint64_t fixture_get64(const struct fixture *fixture, gpa_t address)
{
	return boot_get64(fixture_at(fixture, address, 8));
}

/* A file with that content; the caller unlinks and frees the path. */
static inline char *fixture_file(const void *bytes, size_t size)
{
	char *path = strdup("/tmp/atoll-boot-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	return path;
}

/* The flat 32-bit entry state: multiboot 3.2, PVH, Linux's 32-bit boot protocol. */
static inline void assert_flat_protected_mode(const struct cpu_state *cpu)
{
	assert_int_equal(cpu->cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(cpu->cr4, 0);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->rflags & (RFLAGS_IF | RFLAGS_TF | RFLAGS_VM), 0);
	for (unsigned i = 0; i <= X86_GS; i++) {
		assert_int_equal(cpu->segment[i].base, 0);
		assert_int_equal(cpu->segment[i].limit, UINT32_MAX);
		assert_int_equal(cpu->segment[i].attributes & (SEG_P | SEG_S | SEG_DB | SEG_L),
			SEG_P | SEG_S | SEG_DB);
		assert_int_equal(!!(cpu->segment[i].attributes & SEG_TYPE_CODE), i == X86_CS);
	}
}

#endif
