#include "share/share_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT_OF(n) (1u << (n))

/* To act for any user, as a file server does. CAP_MKNOD makes device files, which are never
 * opened here. */
#define CAPABILITIES                                                                               \
	(BIT_OF(CAP_CHOWN) | BIT_OF(CAP_DAC_OVERRIDE) | BIT_OF(CAP_FOWNER) | BIT_OF(CAP_FSETID) |  \
		BIT_OF(CAP_SETGID) | BIT_OF(CAP_SETUID) | BIT_OF(CAP_MKNOD) | BIT_OF(CAP_SETFCAP))

/* Landlock's rights (Linux: Documentation/userspace-api/landlock.rst), by version. */
#define LANDLOCK_READING                                                                           \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define LANDLOCK_WRITING                                                                           \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                           \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                    \
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                        \
		LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                      \
		LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |                      \
		LANDLOCK_ACCESS_FS_REFER)
#ifdef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_TRUNCATE LANDLOCK_ACCESS_FS_TRUNCATE
#else
#define LANDLOCK_TRUNCATE (UINT64_C(1) << 14)
#endif
#define LANDLOCK_HAS_REFER    2
#define LANDLOCK_HAS_TRUNCATE 3

static int confine_opening(int root, bool read_only)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr rights = { .handled_access_fs =
							LANDLOCK_READING | LANDLOCK_WRITING };
	struct landlock_path_beneath_attr beneath = { .parent_fd = root };
	int ruleset, rc = 0;

	/* The first version refuses all renames between directories. */
	if (version < LANDLOCK_HAS_REFER)
		return 0;
	if (version >= LANDLOCK_HAS_TRUNCATE)
		rights.handled_access_fs |= LANDLOCK_TRUNCATE;
	beneath.allowed_access = read_only ? LANDLOCK_READING : rights.handled_access_fs;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, sizeof(rights), 0);
	if (ruleset < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		rc = -errno;
	close(ruleset);
	return rc;
}

/* Puts the share in the place of the root directory. Whoever may not: nothing is done. */
static int change_root(int *root)
{
	struct stat before, after;
	char path[PATH_MAX];
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return 0;
	if (fchdir(*root) < 0 || !getcwd(path, sizeof(path)))
		return -errno;
	if (mount("", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
		mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(path) < 0)
		return 0;
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return fchdir(*root) < 0 ? -errno : 0;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(*root, &before) < 0 || fstat(fd, &after) < 0 || before.st_dev != after.st_dev ||
		before.st_ino != after.st_ino) {
		close(fd);
		return -ESTALE;
	}
	close(*root);
	*root = fd;
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return -errno;
	if (syscall(SYS_capget, &header, sets) < 0)
		return -errno;
	sets[0].permitted &= CAPABILITIES;
	sets[0].effective = sets[0].permitted;
	sets[1].permitted = sets[1].effective = 0;
	sets[0].inheritable = sets[1].inheritable = 0;
	return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

/* What serving takes, and what the C library's memory does. */
static const int allowed_calls[] = { SYS_read, SYS_write, SYS_preadv, SYS_pwritev, SYS_close,
	SYS_openat, SYS_open, SYS_fstat, SYS_newfstatat, SYS_lseek, SYS_poll, SYS_ppoll,
	SYS_recvmsg, SYS_recvfrom, SYS_sendmsg, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise,
	SYS_brk, SYS_mprotect, SYS_fcntl, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fallocate,
	SYS_getdents64, SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_symlinkat, SYS_linkat,
	SYS_readlinkat, SYS_renameat2, SYS_fchownat, SYS_chmod, SYS_fchmodat, SYS_utimensat,
	SYS_fstatfs, SYS_access, SYS_faccessat, SYS_syncfs, SYS_copy_file_range, SYS_getxattr,
	SYS_setxattr, SYS_listxattr, SYS_removexattr, SYS_setfsuid, SYS_setfsgid, SYS_capget,
	SYS_capset, SYS_umask, SYS_fchdir, SYS_exit, SYS_exit_group, SYS_rt_sigreturn,
	SYS_rt_sigprocmask, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_futex, SYS_restart_syscall };

#define NR_ALLOWED (sizeof(allowed_calls) / sizeof(allowed_calls[0]))

static int filter_calls(void)
{
	struct sock_filter code[NR_ALLOWED + 7] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = { .filter = code };
	unsigned length = 4;

	for (unsigned i = 0; i < NR_ALLOWED; i++, length++)
		code[length] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			(unsigned)allowed_calls[i], (unsigned char)(NR_ALLOWED - i), 0);
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = (unsigned short)length;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int share_sandbox_enter(int *root, bool read_only)
{
	int rc = change_root(root);

	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (rc == 0)
		rc = drop_capabilities();
	if (rc == 0)
		rc = confine_opening(*root, read_only);
	return rc < 0 ? rc : filter_calls();
}
