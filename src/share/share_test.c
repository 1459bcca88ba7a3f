/*
 * The share server's requests against a directory made for each test. What a hostile guest sends
 * stays inside: requests are built here, not by Linux's driver, which would not send them.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#define ROOT 1

struct fixture {
	struct share share;
	char outside[64], inside[80]; /* the share is a directory in another */
	struct fuse_out_header answer;
	uint8_t body[8192];
};

static int in_directory(const char *directory, const char *name, int flags)
{
	int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(at, name, flags | O_CLOEXEC, 0644);

	close(at);
	return fd;
}

static void make_file(const char *directory, const char *name, const char *text)
{
	int fd = in_directory(directory, name, O_WRONLY | O_CREAT);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* Sends one request; returns its error, 0 or negative. */
static int request(struct fixture *f, uint32_t opcode, uint64_t node, const void *fixed,
	size_t fixed_bytes, const char *names, size_t names_bytes)
{
	struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + fixed_bytes +
							   names_bytes),
		.opcode = opcode,
		.unique = 7,
		.nodeid = node,
		.uid = geteuid(),
		.gid = getegid() };
	uint8_t bytes[4096];
	struct iovec in[] = { { &header, sizeof(header) }, { bytes, fixed_bytes + names_bytes } };
	struct iovec out[] = { { &f->answer, 5 }, { (uint8_t *)&f->answer + 5, 11 },
		{ f->body, sizeof(f->body) } };
	size_t written;

	memcpy(bytes, fixed, fixed_bytes);
	memcpy(bytes + fixed_bytes, names, names_bytes);
	memset(&f->answer, 0, sizeof(f->answer));
	written = share_serve(&f->share, in, 2, out, 3);
	assert_int_equal(written, f->answer.len);
	if (written > 0)
		assert_int_equal(f->answer.unique, 7);
	return f->answer.error;
}

static int begin(struct fixture *f, uint32_t minor)
{
	const struct fuse_init_in in = { .major = 7, .minor = minor, .flags = FUSE_BIG_WRITES };

	return request(f, FUSE_INIT, 0, &in, sizeof(in), "", 0);
}

static int set_up_with(void **state, unsigned max_open)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int root;

	assert_non_null(f);
	strcpy(f->outside, "/tmp/share-test-XXXXXX");
	assert_non_null(mkdtemp(f->outside));
	snprintf(f->inside, sizeof(f->inside), "%s/share", f->outside);
	assert_int_equal(mkdir(f->inside, 0755), 0);
	make_file(f->outside, "secret", "secret");
	make_file(f->inside, "file", "content");
	root = open(f->inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(symlinkat("../secret", root, "relative"), 0);
	assert_int_equal(symlinkat("..", root, "up"), 0);
	assert_int_equal(symlinkat("/tmp/share-test-made", root, "dangling"), 0);
	assert_int_equal(mkfifoat(root, "fifo", 0600), 0);
	assert_int_equal(mkdirat(root, "directory", 0700), 0);
	assert_int_equal(share_init(&f->share, root,
				 open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC), max_open),
		0);
	assert_int_equal(begin(f, 38), 0);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, 1024);
}

static int set_up_narrow(void **state)
{
	return set_up_with(state, 16);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	share_finish(&f->share);
	snprintf(command, sizeof(command), "rm -r %s", f->outside);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static int look_up(struct fixture *f, uint64_t parent, const char *name, uint64_t *node)
{
	struct fuse_entry_out entry;
	int rc = request(f, FUSE_LOOKUP, parent, NULL, 0, name, strlen(name) + 1);

	memcpy(&entry, f->body, sizeof(entry));
	*node = rc == 0 ? entry.nodeid : 0;
	return rc;
}

static int open_node(struct fixture *f, uint64_t node, uint32_t flags, uint64_t *handle)
{
	const struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out;
	int rc = request(f, FUSE_OPEN, node, &in, sizeof(in), "", 0);

	memcpy(&out, f->body, sizeof(out));
	*handle = out.fh;
	return rc;
}

static int read_handle(struct fixture *f, uint64_t node, uint64_t handle)
{
	const struct fuse_read_in in = { .fh = handle, .size = 100 };

	return request(f, FUSE_READ, node, &in, sizeof(in), "", 0);
}

static void test_version(void **state)
{
	struct fixture *f = *state;
	const struct fuse_init_in newer = { .major = 8 };

	assert_int_equal(begin(f, 30), -EPROTO);
	/* Nothing is served before a session. */
	assert_int_equal(request(f, FUSE_LOOKUP, ROOT, NULL, 0, "file", 5), -EIO);
	assert_int_equal(request(f, FUSE_INIT, 0, &newer, sizeof(newer), "", 0), 0);
	assert_int_equal(((const struct fuse_init_out *)(const void *)f->body)->major, 7);
	assert_int_equal(begin(f, 31), 0);
}

static void test_names_that_lead_out(void **state)
{
	static const char *const names[] = { ".", "..", "", "/", "/etc", "directory/..",
		"../secret", "directory/../../secret" };
	struct fixture *f = *state;
	uint64_t node;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct fuse_mkdir_in mkdir_in = { .mode = 0700 };

		assert_int_equal(look_up(f, ROOT, names[i], &node), -EINVAL);
		assert_int_equal(
			request(f, FUSE_UNLINK, ROOT, NULL, 0, names[i], strlen(names[i]) + 1),
			-EINVAL);
		assert_int_equal(request(f, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), names[i],
					 strlen(names[i]) + 1),
			-EINVAL);
	}
	/* A string that does not end, and none at all. */
	assert_int_equal(request(f, FUSE_LOOKUP, ROOT, NULL, 0, "file", 4), -EINVAL);
	assert_int_equal(request(f, FUSE_LOOKUP, ROOT, NULL, 0, "", 0), -EINVAL);
}

static void test_symbolic_links(void **state)
{
	const struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 1 };
	const struct fuse_create_in create = { .flags = O_WRONLY, .mode = 0644 };
	struct fixture *f = *state;
	uint64_t link, node, handle;

	assert_int_equal(look_up(f, ROOT, "relative", &link), 0);
	assert_int_equal(open_node(f, link, O_RDONLY, &handle), -ENXIO);
	assert_int_equal(look_up(f, ROOT, "up", &link), 0);
	assert_int_equal(look_up(f, link, "secret", &node), -ENOTDIR);
	assert_int_equal(
		request(f, FUSE_OPENDIR, link, &(struct fuse_open_in){ 0 }, 8, "", 0), -ENOTDIR);
	assert_int_equal(request(f, FUSE_SETATTR, link, &size, sizeof(size), "", 0), -EINVAL);
	assert_int_equal(
		request(f, FUSE_CREATE, ROOT, &create, sizeof(create), "dangling", 9), -ENXIO);
	assert_int_equal(access("/tmp/share-test-made", F_OK), -1);
	assert_int_equal(request(f, FUSE_READLINK, link, NULL, 0, "", 0), 0);
	assert_int_equal(f->answer.len, sizeof(f->answer) + 2);
}

/* Opening one would wait for a writer, or act on a device. */
static void test_special_files(void **state)
{
	const struct fuse_create_in create = { .flags = O_WRONLY, .mode = 0644 };
	struct fixture *f = *state;
	uint64_t node, handle;

	assert_int_equal(look_up(f, ROOT, "fifo", &node), 0);
	assert_int_equal(open_node(f, node, O_RDONLY, &handle), -ENXIO);
	assert_int_equal(request(f, FUSE_CREATE, ROOT, &create, sizeof(create), "fifo", 5), -ENXIO);
	assert_int_equal(open_node(f, ROOT, O_RDONLY, &handle), -EISDIR);
}

static void test_read_only(void **state)
{
	struct fixture *f = *state;
	uint64_t node, handle;

	f->share.read_only = true;
	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
	assert_int_equal(request(f, FUSE_UNLINK, ROOT, NULL, 0, "file", 5), -EROFS);
	assert_int_equal(open_node(f, node, O_WRONLY, &handle), -EROFS);
	assert_int_equal(open_node(f, node, O_RDONLY | O_TRUNC, &handle), -EROFS);
	assert_int_equal(open_node(f, node, O_RDONLY, &handle), 0);
	assert_int_equal(read_handle(f, node, handle), 0);
	assert_memory_equal(f->body, "content", 7);
}

static void test_numbers_that_were_not_given(void **state)
{
	struct fixture *f = *state;
	uint64_t node, handle;

	assert_int_equal(look_up(f, 99, "file", &node), -ESTALE);
	assert_int_equal(look_up(f, 0, "file", &node), -ESTALE);
	assert_int_equal(look_up(f, UINT64_MAX, "file", &node), -ESTALE);
	assert_int_equal(read_handle(f, ROOT, 0), -EBADF);
	assert_int_equal(read_handle(f, ROOT, UINT64_MAX), -EBADF);
	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
	assert_int_equal(open_node(f, node, O_RDONLY, &handle), 0);
	/* A file's handle is no directory's. */
	assert_int_equal(
		request(f, FUSE_READDIR, ROOT, &(struct fuse_read_in){ .fh = handle, .size = 1000 },
			sizeof(struct fuse_read_in), "", 0),
		-EBADF);
	assert_int_equal(request(f, 4095, ROOT, NULL, 0, "", 0), -ENOSYS);
	assert_int_equal(request(f, FUSE_GETLK, ROOT, NULL, 0, "", 0), -ENOSYS);
}

static void forget(struct fixture *f, uint64_t node, uint64_t lookups)
{
	const struct fuse_forget_in in = { .nlookup = lookups };

	request(f, FUSE_FORGET, node, &in, sizeof(in), "", 0);
}

static void test_forgetting(void **state)
{
	struct fixture *f = *state;
	uint64_t node, again;

	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
	assert_int_equal(look_up(f, ROOT, "file", &again), 0);
	assert_int_equal(node, again);
	assert_int_equal(f->share.inodes.nr_inodes, 2);
	forget(f, node, 1);
	assert_int_equal(f->share.inodes.nr_inodes, 2);
	forget(f, node, UINT64_MAX);
	assert_int_equal(f->share.inodes.nr_inodes, 1);
	forget(f, node, 1);
	forget(f, ROOT, UINT64_MAX);
	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
}

/* More files than descriptors: each is found again, and only if it is the same. */
static void test_few_descriptors(void **state)
{
	enum { NR_FILES = 50 };
	struct fixture *f = *state;
	uint64_t nodes[NR_FILES], directory, handle;
	char name[16], below[128];

	snprintf(below, sizeof(below), "%s/directory", f->inside);
	assert_int_equal(look_up(f, ROOT, "directory", &directory), 0);
	for (unsigned i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		make_file(below, name, name);
		assert_int_equal(look_up(f, directory, name, &nodes[i]), 0);
		assert_true(f->share.inodes.nr_open <= f->share.inodes.max_open);
	}
	for (unsigned i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(open_node(f, nodes[i], O_RDONLY, &handle), 0);
		assert_int_equal(read_handle(f, nodes[i], handle), 0);
		assert_memory_equal(f->body, name, strlen(name));
		assert_int_equal(request(f, FUSE_RELEASE, nodes[i],
					 &(struct fuse_release_in){ .fh = handle },
					 sizeof(struct fuse_release_in), "", 0),
			0);
	}
	/* The host replaces one. */
	assert_int_equal(f->share.inodes.by_id[nodes[0] - 1]->fd, -1);
	strcat(below, "/0");
	snprintf(name, sizeof(name), "new");
	make_file(f->outside, name, "new");
	{
		char other[128];

		snprintf(other, sizeof(other), "%s/new", f->outside);
		assert_int_equal(rename(other, below), 0);
	}
	assert_int_equal(open_node(f, nodes[0], O_RDONLY, &handle), -ESTALE);
	/* As many open files as that allows, and no more. */
	for (unsigned i = 0; i < f->share.max_handles; i++)
		assert_int_equal(open_node(f, nodes[1], O_RDONLY, &handle), 0);
	assert_int_equal(open_node(f, nodes[1], O_RDONLY, &handle), -ENFILE);
}

static void test_removed_while_known(void **state)
{
	struct fixture *f = *state;
	uint64_t node, handle;

	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
	assert_int_equal(request(f, FUSE_UNLINK, ROOT, NULL, 0, "file", 5), 0);
	assert_int_equal(open_node(f, node, O_RDONLY, &handle), 0);
	assert_int_equal(read_handle(f, node, handle), 0);
	assert_memory_equal(f->body, "content", 7);
	assert_int_equal(f->share.inodes.nr_nameless, 1);
	forget(f, node, 1);
	assert_int_equal(f->share.inodes.nr_nameless, 0);
}

/* A parent that the guest has forgotten lives as long as its child, and while it is exchanged. */
static void test_exchange_of_the_forgotten(void **state)
{
	struct fuse_rename2_in in = { .flags = RENAME_EXCHANGE };
	struct fixture *f = *state;
	uint64_t directory, inner, file;
	char below[128];

	snprintf(below, sizeof(below), "%s/directory", f->inside);
	make_file(below, "inner", "inner");
	assert_int_equal(look_up(f, ROOT, "directory", &directory), 0);
	assert_int_equal(look_up(f, directory, "inner", &inner), 0);
	assert_int_equal(look_up(f, ROOT, "file", &file), 0);
	forget(f, directory, 1);
	in.newdir = ROOT;
	assert_int_equal(
		request(f, FUSE_RENAME2, directory, &in, sizeof(in), "inner\0file", 11), 0);
	assert_int_equal(
		request(f, FUSE_RENAME2, directory, &in, sizeof(in), "inner\0file", 11), 0);
	forget(f, inner, 1);
	forget(f, file, 1);
	assert_int_equal(f->share.inodes.nr_inodes, 1);
}

static void test_new_session(void **state)
{
	struct fixture *f = *state;
	uint64_t node, handle;

	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
	assert_int_equal(open_node(f, node, O_RDONLY, &handle), 0);
	assert_int_equal(begin(f, 38), 0);
	assert_int_equal(read_handle(f, ROOT, handle), -EBADF);
	assert_int_equal(f->share.inodes.nr_inodes, 1);
	assert_int_equal(look_up(f, ROOT, "file", &node), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_version),
		TEST(test_names_that_lead_out),
		TEST(test_symbolic_links),
		TEST(test_special_files),
		TEST(test_read_only),
		TEST(test_numbers_that_were_not_given),
		TEST(test_forgetting),
		cmocka_unit_test_setup_teardown(test_few_descriptors, set_up_narrow, tear_down),
		TEST(test_removed_while_known),
		TEST(test_exchange_of_the_forgotten),
		TEST(test_new_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
