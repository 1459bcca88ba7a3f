/*
 * A guest's /bin/test: mounts the share 'work' and tries the calls of a file system in it. Prints
 * "atoll: ok NAME" or "atoll: not ok NAME", and at the end how many there were. With
 * share.seconds=N it measures instead.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define CHECK(name, condition) check(name, condition, #condition)

static unsigned nr_checks;

static void check(const char *name, int holds, const char *condition)
{
	nr_checks++;
	if (holds)
		printf("atoll: ok %s\n", name);
	else
		printf("atoll: not ok %s: %s (%s)\n", name, condition, strerror(errno));
}

static int fails_with(int rc, int error)
{
	return rc < 0 && errno == error;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ssize_t length = (ssize_t)strlen(text);
	int good = fd >= 0 && write(fd, text, (size_t)length) == length;

	return close(fd) == 0 && good;
}

static int holds(const char *path, const char *text)
{
	char got[256] = "";
	int fd = open(path, O_RDONLY);
	ssize_t length = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);

	close(fd);
	return length == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

static void test_names(void)
{
	struct stat one, other;
	char target[64] = "";

	CHECK("mkdir", mkdir("d", 0750) == 0 && stat("d", &one) == 0 && S_ISDIR(one.st_mode) &&
			       (one.st_mode & 07777) == 0750);
	CHECK("mkdir twice", fails_with(mkdir("d", 0750), EEXIST));
	CHECK("write", write_file("d/a", "hello") && holds("d/a", "hello"));
	CHECK("link", link("d/a", "b") == 0 && stat("d/a", &one) == 0 && stat("b", &other) == 0 &&
			      one.st_ino == other.st_ino && other.st_nlink == 2);
	CHECK("unlink one of two", unlink("d/a") == 0 && stat("b", &one) == 0 && one.st_nlink == 1);
	CHECK("rename", rename("b", "d/c") == 0 && holds("d/c", "hello") &&
				fails_with(access("b", F_OK), ENOENT));
	CHECK("rename over",
		write_file("x", "other") && rename("x", "d/c") == 0 && holds("d/c", "other"));
	CHECK("rename onto what is there",
		write_file("x", "kept") &&
			fails_with((int)syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "d/c", 1),
				EEXIST));
	CHECK("exchange", syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "d/c", 2) == 0 &&
				  holds("x", "other") && holds("d/c", "kept"));
	CHECK("directory into itself", fails_with(rename("d", "d/e"), EINVAL));
	CHECK("directory moved", mkdir("d/in", 0755) == 0 && write_file("d/in/f", "deep") &&
					 rename("d/in", "moved") == 0 && holds("moved/f", "deep"));
	CHECK("rmdir of a full one", fails_with(rmdir("moved"), ENOTEMPTY));
	CHECK("rmdir", unlink("moved/f") == 0 && rmdir("moved") == 0);
	CHECK("symlink", symlink("d/c", "s") == 0 && lstat("s", &one) == 0 &&
				 S_ISLNK(one.st_mode) &&
				 readlink("s", target, sizeof(target)) == 3 &&
				 strcmp(target, "d/c") == 0 && holds("s", "kept"));
	CHECK("link to a symlink", linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0) == 0 &&
					   lstat("s2", &one) == 0 && S_ISLNK(one.st_mode));
	CHECK("fifo", mkfifo("p", 0600) == 0 && stat("p", &one) == 0 && S_ISFIFO(one.st_mode));
	CHECK("long name",
		fails_with(mkdir("d/"
				 "0123456789012345678901234567890123456789012345678901234"
				 "5678901234567890123456789012345678901234567890123456789"
				 "0123456789012345678901234567890123456789012345678901234"
				 "5678901234567890123456789012345678901234567890123456789"
				 "01234567890123456789012345678901234567890123456789",
				   0700),
			ENAMETOOLONG));
}

static void test_files(void)
{
	char bytes[16] = "";
	struct stat status;
	off_t at = 0;
	int fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0640), other;

	CHECK("create", fd >= 0 && fstat(fd, &status) == 0 && (status.st_mode & 07777) == 0640);
	CHECK("create twice", fails_with(open("f", O_RDWR | O_CREAT | O_EXCL, 0640), EEXIST));
	CHECK("pwrite", pwrite(fd, "0123456789", 10, 100000) == 10 && fstat(fd, &status) == 0 &&
				status.st_size == 100010);
	CHECK("hole", pread(fd, bytes, 4, 50000) == 4 && memcmp(bytes, "\0\0\0\0", 4) == 0);
	CHECK("end", pread(fd, bytes, 16, 100004) == 6 && memcmp(bytes, "456789", 6) == 0);
	CHECK("seek to data", lseek(fd, 0, SEEK_DATA) <= 100000 && lseek(fd, 0, SEEK_HOLE) >= 0);
	CHECK("truncate", ftruncate(fd, 3) == 0 && fstat(fd, &status) == 0 && status.st_size == 3);
	CHECK("truncate by name",
		truncate("f", 7) == 0 && stat("f", &status) == 0 && status.st_size == 7);
	CHECK("fallocate", fallocate(fd, 0, 0, 65536) == 0 && fstat(fd, &status) == 0 &&
				   status.st_size == 65536);
	CHECK("fsync", fsync(fd) == 0 && fdatasync(fd) == 0);
	CHECK("append", write_file("g", "one") && (other = open("g", O_WRONLY | O_APPEND)) >= 0 &&
				write(other, "two", 3) == 3 && close(other) == 0 &&
				holds("g", "onetwo"));
	other = open("h", O_RDWR | O_CREAT, 0600);
	CHECK("copy_file_range", pwrite(fd, "copied", 6, 0) == 6 &&
					 copy_file_range(fd, &at, other, NULL, 6, 0) == 6 &&
					 holds("h", "copied"));
	CHECK("unlink while open", unlink("h") == 0 && pread(other, bytes, 6, 0) == 6 &&
					   memcmp(bytes, "copied", 6) == 0 &&
					   pwrite(other, "still", 5, 0) == 5 &&
					   fstat(other, &status) == 0 && status.st_nlink == 0);
	close(other);
	CHECK("flock",
		flock(fd, LOCK_EX | LOCK_NB) == 0 &&
			fails_with(flock(other = open("f", O_RDWR), LOCK_EX | LOCK_NB), EAGAIN));
	close(other);
	CHECK("mapped", ftruncate(fd, 8192) == 0);
	{
		char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		CHECK("mmap", page != MAP_FAILED);
		if (page != MAP_FAILED) {
			memcpy(page + 4096, "mapped", 6);
			CHECK("msync", msync(page, 8192, MS_SYNC) == 0 &&
					       pread(fd, bytes, 6, 4096) == 6 &&
					       memcmp(bytes, "mapped", 6) == 0);
			munmap(page, 8192);
		}
	}
	close(fd);
}

static void test_attributes(void)
{
	const struct timespec times[] = { { .tv_sec = 1000 }, { .tv_sec = 2000, .tv_nsec = 5000 } };
	char value[64] = "", names[256];
	struct statfs filesystem;
	struct stat status;
	ssize_t length;

	CHECK("chmod", chmod("f", 0600) == 0 && stat("f", &status) == 0 &&
			       (status.st_mode & 07777) == 0600);
	CHECK("utimes", utimensat(AT_FDCWD, "f", times, 0) == 0 && stat("f", &status) == 0 &&
				status.st_atime == 1000 && status.st_mtime == 2000);
	CHECK("utimes of a symlink", utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW) == 0 &&
					     lstat("s", &status) == 0 && status.st_mtime == 2000);
	CHECK("statfs", statfs("f", &filesystem) == 0 && filesystem.f_blocks > 0 &&
				filesystem.f_namelen == 255);
	CHECK("sync", syncfs(open(".", O_RDONLY)) == 0);
	if (setxattr("f", "user.colour", "green", 5, 0) < 0 && errno == EOPNOTSUPP) {
		printf("atoll: skip xattr: the host's file system has none\n");
		return;
	}
	CHECK("getxattr", getxattr("f", "user.colour", value, sizeof(value)) == 5 &&
				  memcmp(value, "green", 5) == 0);
	CHECK("getxattr's size", getxattr("f", "user.colour", NULL, 0) == 5);
	CHECK("getxattr in no room",
		fails_with((int)getxattr("f", "user.colour", value, 2), ERANGE));
	CHECK("setxattr exclusively",
		fails_with(setxattr("f", "user.colour", "x", 1, XATTR_CREATE), EEXIST));
	length = listxattr("f", names, sizeof(names));
	CHECK("listxattr", length > 0 && memmem(names, (size_t)length, "user.colour", 12));
	CHECK("removexattr",
		removexattr("f", "user.colour") == 0 &&
			fails_with((int)getxattr("f", "user.colour", value, 9), ENODATA));
}

static void test_directories(void)
{
	enum { NR_FILES = 1000 };
	static unsigned char seen[NR_FILES];
	char name[32];
	unsigned count = 0, twice = 0;
	struct dirent *entry;
	DIR *directory;

	mkdir("many", 0755);
	for (unsigned i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		count += (unsigned)write_file(name, name + 5);
	}
	CHECK("many files", count == NR_FILES);
	directory = opendir("many");
	count = 0;
	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		twice += seen[atoi(entry->d_name) % NR_FILES]++ > 0;
		count++;
	}
	closedir(directory);
	CHECK("each listed once", count == NR_FILES && twice == 0);
	count = 0;
	for (unsigned i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		count += unlink(name) == 0;
	}
	CHECK("all removed", count == NR_FILES && rmdir("many") == 0);
	CHECK("a removed directory that is open",
		mkdir("gone", 0755) == 0 && (directory = opendir("gone")) && rmdir("gone") == 0 &&
			fails_with(
				openat(dirfd(directory), "new", O_CREAT | O_WRONLY, 0600), ENOENT));
}

/* Several processes, each with its files and one that all append to. */
static void test_together(void)
{
	enum { NR_PROCESSES = 4, NR_ROUNDS = 50 };
	unsigned good = 0;
	struct stat status;
	int result;

	fflush(stdout);
	for (unsigned i = 0; i < NR_PROCESSES; i++) {
		if (fork() == 0) {
			unsigned right = 0;
			char name[32], to[32];

			for (unsigned j = 0; j < NR_ROUNDS; j++) {
				int fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);

				snprintf(name, sizeof(name), "t%u-%u", i, j);
				snprintf(to, sizeof(to), "u%u-%u", i, j);
				right += write_file(name, name) && rename(name, to) == 0 &&
					 holds(to, name) && unlink(to) == 0 &&
					 write(fd, "line\n", 5) == 5;
				close(fd);
			}
			_exit(right == NR_ROUNDS ? 0 : 1);
		}
	}
	while (wait(&result) > 0)
		good += WIFEXITED(result) && WEXITSTATUS(result) == 0;
	CHECK("together", good == NR_PROCESSES);
	CHECK("appended",
		stat("log", &status) == 0 && status.st_size == 5 * NR_PROCESSES * NR_ROUNDS);
}

/* What the test put there: links that lead out of the share on the host. */
static void test_escapes(void)
{
	struct stat status;

	CHECK("absolute link is the guest's", lstat("out", &status) == 0 &&
						      S_ISLNK(status.st_mode) &&
						      open("out/passwd", O_RDONLY) < 0);
	CHECK("relative link is the guest's", open("up/secret", O_RDONLY) < 0);
	CHECK("no link is followed in making",
		open("dangling", O_CREAT | O_WRONLY, 0644) < 0 || access("/made", F_OK) == 0);
}

static void test_read_only(void)
{
	CHECK("read", holds("kept", "kept"));
	CHECK("no creation", fails_with(open("new", O_CREAT | O_WRONLY, 0644), EROFS));
	CHECK("no writing", fails_with(open("kept", O_WRONLY), EROFS));
	CHECK("no truncation", fails_with(truncate("kept", 0), EROFS));
	CHECK("no removal", fails_with(unlink("kept"), EROFS));
	CHECK("no directory", fails_with(mkdir("new", 0755), EROFS));
	CHECK("no chmod", fails_with(chmod("kept", 0777), EROFS));
	CHECK("no rename", fails_with(rename("kept", "other"), EROFS));
	CHECK("no link", fails_with(link("kept", "other"), EROFS));
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void measure(double seconds)
{
	static char buffer[1 << 20];
	struct stat status;
	double begun = now_s(), took;
	unsigned long count = 0;
	int fd = open("big", O_RDWR | O_CREAT, 0600);

	for (; now_s() - begun < seconds; count++)
		pwrite(fd, buffer, sizeof(buffer), (off_t)(count % 64) << 20);
	took = now_s() - begun;
	printf("atoll: write %.0f MiB/s\n", (double)count / took);
	begun = now_s();
	for (count = 0; now_s() - begun < seconds; count++) {
		posix_fadvise(fd, (off_t)(count % 64) << 20, sizeof(buffer), POSIX_FADV_DONTNEED);
		pread(fd, buffer, sizeof(buffer), (off_t)(count % 64) << 20);
	}
	took = now_s() - begun;
	printf("atoll: read %.0f MiB/s\n", (double)count / took);
	begun = now_s();
	for (count = 0; now_s() - begun < seconds; count++) {
		write_file("small", "x");
		stat("small", &status);
		unlink("small");
	}
	took = now_s() - begun;
	printf("atoll: files %.0f /s\n", (double)count / took);
}

static const char *option(const char *line, const char *name)
{
	const char *found = strstr(line, name);

	return found ? found + strlen(name) : NULL;
}

int main(void)
{
	char line[1024] = "";
	int fd = open("/proc/cmdline", O_RDONLY);

	if (read(fd, line, sizeof(line) - 1) < 0)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/mnt", 0755);
	umask(0);
	CHECK("mounted", mount("work", "/mnt", "virtiofs", 0, "") == 0 && chdir("/mnt") == 0);
	if (option(line, "share.seconds=")) {
		measure(atof(option(line, "share.seconds=")));
	} else if (option(line, "share.readonly")) {
		test_read_only();
	} else {
		test_names();
		test_files();
		test_attributes();
		test_directories();
		test_together();
		test_escapes();
	}
	printf("atoll: checks %u\n", nr_checks);
	return 0;
}
