/*
 * Runners (direct_runner.h).
 *
 * The program is made here, in memory: one page, an ELF header and the stub. Once it stands, all
 * that Linux maps for a new process (stack, vDSO) is taken away again.
 *
 * The stub's page and its commands can be read by guest code that looks for them; they are where
 * the guest has nothing. Jumping there leads nowhere: a system call is carried out only while
 * direct_runner_commit waits for it, and commands are wiped when they are done.
 */
#include "engine/soft/direct_runner.h"

#include "base/bits.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KICK_SIGNAL SIGURG

/* The runner's descriptors. */
#define FD_MEMORY   0
#define FD_COMMANDS 1
#define FD_PROGRAM  2

#define STOPS_MEASURED 8

/* RBX: commands, R12: how many. Stops with RAX below 0 at the first that fails. */
__asm__(".pushsection .rodata\n"
	"direct_stub_begin:\n"
	"1: mov (%rbx), %rax\n"
	"mov 8(%rbx), %rdi\n"
	"mov 16(%rbx), %rsi\n"
	"mov 24(%rbx), %rdx\n"
	"mov 32(%rbx), %r10\n"
	"mov 40(%rbx), %r8\n"
	"mov 48(%rbx), %r9\n"
	"syscall\n"
	"cmp $-4095, %rax\n"
	"jae 2f\n"
	"add $56, %rbx\n"
	"dec %r12\n"
	"jnz 1b\n"
	"2: int3\n"
	"direct_stub_single:\n"
	"syscall\n"
	"int3\n"
	"direct_stub_end:\n"
	".popsection\n");
extern const uint8_t direct_stub_begin[], direct_stub_single[], direct_stub_end[];

#define STUB_OFFSET (sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr))

_Static_assert(sizeof(struct direct_command) == 56, "the stub's stride");
_Static_assert(DIRECT_BATCH * sizeof(struct direct_command) <= DIRECT_COMMANDS_BYTES, "");

int direct_commands_create(struct direct_commands *commands)
{
	void *list;

	commands->count = 0;
	commands->fd = memfd_create("direct-commands", MFD_CLOEXEC);
	if (commands->fd < 0)
		return -errno;
	if (ftruncate(commands->fd, DIRECT_COMMANDS_BYTES) < 0)
		goto fail;
	list = mmap(
		NULL, DIRECT_COMMANDS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, commands->fd, 0);
	if (list == MAP_FAILED)
		goto fail;
	commands->list = list;
	return 0;
fail:
	close(commands->fd);
	commands->fd = -1;
	return -errno;
}

void direct_commands_destroy(struct direct_commands *commands)
{
	if (commands->list)
		munmap(commands->list, DIRECT_COMMANDS_BYTES);
	if (commands->fd >= 0)
		close(commands->fd);
	commands->list = NULL;
	commands->fd = -1;
}

/* The program as a file in memory. */
static int make_program(gva_t stub)
{
	const Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = stub + STUB_OFFSET,
		.e_phoff = sizeof(header),
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	const Elf64_Phdr segments[] = {
		{ .p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_vaddr = stub,
			.p_filesz = 4096,
			.p_memsz = 4096,
			.p_align = 4096 },
		{ .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
	};
	uint8_t page[4096] = { 0 };
	int fd = memfd_create("atoll-runner", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	memcpy(page, &header, sizeof(header));
	memcpy(page + sizeof(header), segments, sizeof(segments));
	memcpy(page + STUB_OFFSET, direct_stub_begin, direct_stub_end - direct_stub_begin);
	if (write(fd, page, sizeof(page)) != sizeof(page)) {
		close(fd);
		return -EIO;
	}
	return fd;
}

/* In the child of vfork: shares this process's memory, and may only make system calls. */
static _Noreturn void become_runner(int memory, int commands, int program)
{
	static char *const nothing[] = { NULL };
	const struct rlimit no_core = { 0, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	memory = fcntl(memory, F_DUPFD, 64);
	commands = fcntl(commands, F_DUPFD, 64);
	program = fcntl(program, F_DUPFD, 64);
	if (dup2(memory, FD_MEMORY) == FD_MEMORY && dup2(commands, FD_COMMANDS) == FD_COMMANDS &&
		dup3(program, FD_PROGRAM, O_CLOEXEC) == FD_PROGRAM &&
		syscall(SYS_close_range, FD_PROGRAM + 1, ~0u, 0) == 0 &&
		ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		syscall(SYS_execveat, FD_PROGRAM, "", nothing, nothing, AT_EMPTY_PATH);
	_exit(127);
}

static __attribute__((noinline)) pid_t spawn(int memory, int commands, int program)
{
	pid_t pid = vfork();

	if (pid == 0)
		become_runner(memory, commands, program);
	return pid;
}

/* Waits for a stop. Returns its signal (SIGTRAP | 0x80: a system call), or -ECHILD. */
static int wait_stop(struct direct_runner *runner)
{
	int status;

	while (waitpid(runner->pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -ECHILD;
	if (!WIFSTOPPED(status)) {
		runner->pid = 0;
		return -ECHILD;
	}
	return WSTOPSIG(status);
}

/* Lets the stub run until its INT3, and returns RAX. */
static int64_t run_stub(struct direct_runner *runner, struct user_regs_struct *regs)
{
	int stop;

	regs->orig_rax = ~UINT64_C(0);
	if (ptrace(PTRACE_SETREGS, runner->pid, NULL, regs) < 0)
		return -errno;
	do {
		if (ptrace(PTRACE_CONT, runner->pid, NULL, NULL) < 0)
			return -errno;
		stop = wait_stop(runner);
		if (stop < 0)
			return stop;
	} while (stop == KICK_SIGNAL);
	if (stop != SIGTRAP)
		return -EFAULT;
	if (ptrace(PTRACE_GETREGS, runner->pid, NULL, regs) < 0)
		return -errno;
	return (int64_t)regs->rax;
}

static struct user_regs_struct stub_regs(const struct direct_runner *runner, const uint8_t *entry)
{
	struct user_regs_struct regs = runner->regs;

	regs.rip = runner->stub + STUB_OFFSET + (uint64_t)(entry - direct_stub_begin);
	regs.eflags = 0x202;
	regs.cs = 0x33;
	regs.ss = 0x2b;
	return regs;
}

static int64_t system_call(struct direct_runner *runner, uint64_t number, uint64_t a, uint64_t b,
	uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	struct user_regs_struct regs = stub_regs(runner, direct_stub_single);

	regs.rax = number;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = f;
	return run_stub(runner, &regs);
}

/* What the stub may do: map guest memory, and unmap. Older kernels would slow a
 * process with a filter down, against speculation, if not told otherwise; it is no more dangerous
 * than one without. */
static int install_filter(struct direct_runner *runner)
{
	static const struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FD_MEMORY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	const gva_t base = runner->stub + 4096;
	uint8_t *memory = (uint8_t *)runner->commands->list;
	const struct {
		uint64_t length, filter;
	} description = { ARRAY_SIZE(program), base + 64 };
	int64_t ret;

	memcpy(memory, &description, sizeof(description));
	memcpy(memory + 64, program, sizeof(program));
	ret = system_call(runner, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	if (ret == 0)
		ret = system_call(runner, SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, base, 0, 0, 0);
	memset(memory, 0, 64 + sizeof(program));
	return (int)ret;
}

static int empty(struct direct_runner *runner)
{
	int64_t ret = system_call(runner, SYS_munmap, 0, runner->stub, 0, 0, 0, 0);
	gva_t above = runner->stub + DIRECT_STUB_BYTES;

	if (ret == 0)
		ret = system_call(runner, SYS_munmap, above, DIRECT_USER_END - above, 0, 0, 0, 0);
	return (int)ret;
}

static int set_up(struct direct_runner *runner)
{
	static const char name[] = "atoll-guest";
	uint64_t no_signals = 0;
	int64_t ret;

	if (ptrace(PTRACE_SETOPTIONS, runner->pid, NULL,
		    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) < 0 ||
		ptrace(PTRACE_SETSIGMASK, runner->pid, sizeof(no_signals), &no_signals) < 0 ||
		ptrace(PTRACE_GETREGS, runner->pid, NULL, &runner->regs) < 0)
		return -errno;
	ret = system_call(runner, SYS_mmap, runner->stub + 4096, DIRECT_COMMANDS_BYTES, PROT_READ,
		MAP_SHARED | MAP_FIXED, FD_COMMANDS, 0);
	if (ret != (int64_t)runner->stub + 4096)
		return ret < 0 ? (int)ret : -ENOMEM;
	memcpy(runner->commands->list, name, sizeof(name));
	system_call(runner, SYS_prctl, PR_SET_NAME, runner->stub + 4096, 0, 0, 0, 0);
	memset(runner->commands->list, 0, sizeof(name));
	ret = system_call(runner, SYS_close, FD_COMMANDS, 0, 0, 0, 0, 0);
	if (ret == 0)
		ret = empty(runner);
	return ret < 0 ? (int)ret : install_filter(runner);
}

/* The host's whole image; its size is known when it was read once. */
static int learn_vectors(struct direct_runner *runner)
{
	struct iovec io = { .iov_len = 64u << 10 };

	runner->xstate = calloc(1, io.iov_len);
	if (!runner->xstate)
		return -ENOMEM;
	io.iov_base = runner->xstate;
	if (ptrace(PTRACE_GETREGSET, runner->pid, NT_X86_XSTATE, &io) < 0)
		return -errno;
	runner->xstate_size = io.iov_len;
	return 0;
}

int direct_runner_start(
	struct direct_runner *runner, struct direct_commands *commands, int memory_fd, gva_t stub)
{
	int program = make_program(stub);
	int ret;

	*runner = (struct direct_runner){ .stub = stub, .commands = commands };
	if (program < 0)
		return program;
	runner->pid = spawn(memory_fd, commands->fd, program);
	ret = runner->pid < 0 ? -errno : 0;
	close(program);
	if (ret < 0) {
		runner->pid = 0;
		return ret;
	}
	if (wait_stop(runner) != SIGTRAP)
		ret = -ENOEXEC;
	if (ret == 0)
		ret = set_up(runner);
	if (ret == 0)
		ret = learn_vectors(runner);
	if (ret < 0)
		direct_runner_stop(runner);
	return ret;
}

void direct_runner_stop(struct direct_runner *runner)
{
	if (runner->pid > 0) {
		kill(runner->pid, SIGKILL);
		while (runner->pid > 0 && wait_stop(runner) >= 0)
			;
	}
	free(runner->xstate);
	runner->xstate = NULL;
	runner->pid = 0;
}

static struct direct_command *next_command(struct direct_runner *runner, int *ret)
{
	*ret = 0;
	if (runner->commands->count == DIRECT_BATCH)
		*ret = direct_runner_commit(runner);
	return &runner->commands->list[runner->commands->count++];
}

int direct_runner_map(struct direct_runner *runner, gva_t at, uint64_t size, int protection,
	bool copy, uint64_t offset)
{
	uint64_t flags = (copy ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED | MAP_POPULATE;
	int ret;
	struct direct_command *command = next_command(runner, &ret);

	*command = (struct direct_command){ SYS_mmap,
		{ at, size, (uint64_t)protection, flags, FD_MEMORY, offset } };
	return ret;
}

int direct_runner_unmap(struct direct_runner *runner, gva_t at, uint64_t size)
{
	int ret;
	struct direct_command *command = next_command(runner, &ret);

	*command = (struct direct_command){ SYS_munmap, { at, size } };
	return ret;
}

int direct_runner_unmap_all(struct direct_runner *runner)
{
	runner->commands->count = 0;
	return empty(runner);
}

int direct_runner_commit(struct direct_runner *runner)
{
	struct user_regs_struct regs = stub_regs(runner, direct_stub_begin);
	unsigned count = runner->commands->count;
	int64_t ret;

	if (count == 0)
		return 0;
	regs.rbx = runner->stub + 4096;
	regs.r12 = count;
	ret = run_stub(runner, &regs);
	runner->commands->count = 0;
	memset(runner->commands->list, 0, count * sizeof(struct direct_command));
	return ret < 0 && ret > -4096 ? (int)ret : 0;
}

/* A tracer's write gives a private mapping a page of its own. */
int direct_runner_trap(struct direct_runner *runner, gva_t at)
{
	gva_t word_at = align_down(at, 8);
	unsigned shift = (unsigned)(at - word_at) * 8;
	uint64_t word;

	errno = 0;
	word = (uint64_t)ptrace(PTRACE_PEEKDATA, runner->pid, word_at, NULL);
	if (errno != 0)
		return -errno;
	word &= ~(UINT64_C(0xff) << shift);
	word |= UINT64_C(0xcc) << shift;
	return ptrace(PTRACE_POKEDATA, runner->pid, word_at, word) < 0 ? -errno : 0;
}

static bool is_exception(int number)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i] == number)
			return true;
	return false;
}

enum direct_stop direct_runner_run(struct direct_runner *runner, struct direct_signal *signal)
{
	siginfo_t info;
	int stop;

	runner->regs.orig_rax = ~UINT64_C(0);
	if (ptrace(PTRACE_SETREGS, runner->pid, NULL, &runner->regs) < 0 ||
		ptrace(PTRACE_SYSEMU, runner->pid, NULL, NULL) < 0)
		return DIRECT_STOP_DEAD;
	stop = wait_stop(runner);
	if (stop < 0 || ptrace(PTRACE_GETREGS, runner->pid, NULL, &runner->regs) < 0)
		return DIRECT_STOP_DEAD;
	if (stop == (SIGTRAP | 0x80)) {
		/* Linux has -ENOSYS there by now. */
		runner->regs.rax = runner->regs.orig_rax;
		return DIRECT_STOP_SYSTEM_CALL;
	}
	if (stop == KICK_SIGNAL)
		return DIRECT_STOP_KICK;
	if (ptrace(PTRACE_GETSIGINFO, runner->pid, NULL, &info) < 0)
		return DIRECT_STOP_DEAD;
	/* Somebody sent it, a terminal perhaps: not the guest's doing. */
	if (info.si_code <= 0 || !is_exception(stop))
		return DIRECT_STOP_KICK;
	if (stop == SIGSYS) {
		/* A call of the vsyscall page, which Linux refuses by returning; RAX is lost. */
		runner->regs.rip = (uint64_t)(uintptr_t)info.si_call_addr;
		runner->regs.rsp -= 8;
		*signal = (struct direct_signal){ SIGSEGV, SEGV_MAPERR, runner->regs.rip };
		return DIRECT_STOP_SIGNAL;
	}
	*signal = (struct direct_signal){
		.number = stop, .code = info.si_code, .address = (uint64_t)(uintptr_t)info.si_addr
	};
	return DIRECT_STOP_SIGNAL;
}

void direct_runner_kick(int pid)
{
	syscall(SYS_tgkill, pid, pid, KICK_SIGNAL);
}

ns_t direct_runner_time(pid_t runner)
{
	/* As clock_getcpuclockid, without its look at the process. */
	clockid_t clock = (clockid_t)(~(unsigned)runner << 3 | 2);
	struct timespec time;

	if (clock_gettime(clock, &time) < 0)
		return 0;
	return (ns_t)time.tv_sec * NS_PER_S + (ns_t)time.tv_nsec;
}

ns_t direct_thread_time(void)
{
	struct timespec time = { 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (ns_t)time.tv_sec * NS_PER_S + (ns_t)time.tv_nsec;
}

int direct_runner_measure(struct direct_runner *runner, struct direct_stop_cost *cost)
{
	const struct user_regs_struct kept = runner->regs;
	ns_t runner_ns = direct_runner_time(runner->pid), thread_ns = direct_thread_time();
	int ret = 0;

	for (unsigned i = 0; i < STOPS_MEASURED && ret == 0; i++) {
		struct direct_signal why;

		/* Reads what is mapped nowhere: faults cost more than system calls and traps. */
		runner->regs = stub_regs(runner, direct_stub_begin);
		runner->regs.rbx = runner->stub - 4096;
		if (direct_runner_run(runner, &why) == DIRECT_STOP_DEAD)
			ret = -ESRCH;
	}
	runner->regs = kept;
	cost->runner_ns = (direct_runner_time(runner->pid) - runner_ns) / STOPS_MEASURED;
	cost->thread_ns = (direct_thread_time() - thread_ns) / STOPS_MEASURED;
	return ret;
}

int direct_runner_put_vectors(struct direct_runner *runner, const void *image, size_t size)
{
	struct iovec io = { .iov_base = runner->xstate, .iov_len = runner->xstate_size };

	memset(runner->xstate, 0, runner->xstate_size);
	memcpy(runner->xstate, image, size);
	return ptrace(PTRACE_SETREGSET, runner->pid, NT_X86_XSTATE, &io) < 0 ? -errno : 0;
}

int direct_runner_get_vectors(struct direct_runner *runner, void *image, size_t size)
{
	struct iovec io = { .iov_base = runner->xstate, .iov_len = runner->xstate_size };

	if (ptrace(PTRACE_GETREGSET, runner->pid, NT_X86_XSTATE, &io) < 0)
		return -errno;
	memcpy(image, runner->xstate, size);
	return 0;
}
