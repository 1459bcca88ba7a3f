/*
 * Locks on image files: open file description locks (fcntl(2)), which end with the descriptor
 * however its process ends. QEMU's byte ranges: byte 100 + n is read-locked by whoever holds
 * permission n, byte 200 + n by whoever refuses permission n to others (n: 0 consistent read,
 * 1 write, 3 resize).
 *
 * The kernel does not tell who holds such a lock, so the holder is looked for in /proc: only
 * processes of the same user are seen.
 */
#include "block/host_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HELD_BASE        100
#define REFUSED_BASE     200
#define RANGE_BYTES      (REFUSED_BASE + 100 - HELD_BASE)
#define PERMISSION_READ  0
#define PERMISSION_WRITE 1
#define PERMISSION_SIZE  3

static int lock_range(int fd, short type, off_t start, off_t bytes)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static bool others_lock(int fd, off_t start)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Does the descriptor `fd` of process `pid` hold a lock on our file? */
static bool descriptor_locks(const char *pid, const char *fd, const struct host_file *file)
{
	char path[600], line[256];
	struct stat status;
	bool locks = false;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fd);
	if (stat(path, &status) || status.st_dev != file->device || status.st_ino != file->inode)
		return false;
	snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
	info = fopen(path, "re");
	if (!info)
		return false;
	while (!locks && fgets(line, sizeof(line), info))
		locks = strncmp(line, "lock:", 5) == 0;
	fclose(info);
	return locks;
}

static bool process_locks(const char *pid, const struct host_file *file)
{
	char path[600], ours[16];
	bool locks = false;
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	directory = opendir(path);
	if (!directory)
		return false;
	snprintf(ours, sizeof(ours), "%d", file->fd);
	while (!locks && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.' ||
			(atoi(pid) == getpid() && strcmp(entry->d_name, ours) == 0))
			continue;
		locks = descriptor_locks(pid, entry->d_name, file);
	}
	closedir(directory);
	return locks;
}

static void name_process(const char *pid, char *name, size_t size)
{
	char path[600], command[64] = "?";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "re");
	if (file) {
		if (fgets(command, sizeof(command), file))
			command[strcspn(command, "\n")] = 0;
		fclose(file);
	}
	snprintf(name, size, "process %s (%s)", pid, command);
}

static void name_holder(const struct host_file *file, char *name, size_t size)
{
	struct dirent *entry;
	bool found = false;
	DIR *processes = opendir("/proc");

	snprintf(name, size, "a process of another user");
	if (!processes)
		return;
	while (!found && (entry = readdir(processes))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		found = process_locks(entry->d_name, file);
		if (found)
			name_process(entry->d_name, name, size);
	}
	closedir(processes);
}

static int lock_to_read(int fd)
{
	static const off_t bytes[] = { HELD_BASE + PERMISSION_READ, REFUSED_BASE + PERMISSION_WRITE,
		REFUSED_BASE + PERMISSION_SIZE };

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		int result = lock_range(fd, F_RDLCK, bytes[i], 1);

		if (result)
			return result;
	}
	return others_lock(fd, HELD_BASE + PERMISSION_WRITE) ? -EAGAIN : 0;
}

int host_file_lock(struct host_file *file, struct error *err)
{
	char holder[400];
	int result;

	if (file->read_only)
		result = lock_to_read(file->fd);
	else
		result = lock_range(file->fd, F_WRLCK, HELD_BASE, RANGE_BYTES);
	if (result != -EAGAIN && result != -EACCES) {
		/* Some network file systems have no locks: nobody else can hold one there. */
		return result == -EINVAL || result == -ENOLCK || result == -EOPNOTSUPP ? 0 : result;
	}
	name_holder(file, holder, sizeof(holder));
	error_set(err, EXIT_CODE_UNAVAILABLE, "the image '%s' is in use by %s; end that first",
		file->path, holder);
	return -EAGAIN;
}
