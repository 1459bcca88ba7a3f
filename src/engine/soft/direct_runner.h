/*
 * A runner: a process whose address space is the user half of a guest's, and which is traced.
 *
 * It has no code of ours but one page, the stub, and no system call of its own is ever carried out:
 * it runs under PTRACE_SYSEMU, and seccomp allows only what the stub is made to do. All functions
 * are for the vCPU's thread, which is the tracer, with the guest's vector registers put away.
 */
#ifndef ENGINE_SOFT_DIRECT_RUNNER_H
#define ENGINE_SOFT_DIRECT_RUNNER_H

#include "base/types.h"

#include <sys/types.h>
#include <sys/user.h>

/* The user half ends here on a host with 4-level paging: the last page is never mapped. */
#define DIRECT_USER_END UINT64_C(0x7ffffffff000)
/* Below, the host maps nothing for whom it does not trust (vm.mmap_min_addr). */
#define DIRECT_USER_START UINT64_C(0x10000)

#define DIRECT_BATCH          512
#define DIRECT_COMMANDS_BYTES (32u << 10)
#define DIRECT_STUB_BYTES     (4096u + DIRECT_COMMANDS_BYTES)

/* A system call that the stub makes. */
struct direct_command {
	uint64_t number, arguments[6];
};

/* Memory that a vCPU's runners read their commands from. */
struct direct_commands {
	int fd;
	struct direct_command *list;
	unsigned count;
};

int direct_commands_create(struct direct_commands *commands);
void direct_commands_destroy(struct direct_commands *commands);

struct direct_runner {
	pid_t pid;  /* 0: none */
	gva_t stub; /* then the commands: DIRECT_STUB_BYTES that no guest mapping may hide */
	struct direct_commands *commands;
	struct user_regs_struct regs; /* as they were when it stopped, and will be when it runs */
	void *xstate;
	size_t xstate_size;
};

/* Why a runner stopped. */
enum direct_stop {
	DIRECT_STOP_SYSTEM_CALL, /* SYSCALL or INT 80h, RIP behind it */
	DIRECT_STOP_SIGNAL,      /* an exception */
	DIRECT_STOP_KICK,
	DIRECT_STOP_ABSENT, /* it could not be started: the process is gone */
	DIRECT_STOP_DEAD,   /* likewise, and the guest's registers with it */
};

struct direct_signal {
	int number, code;
	uint64_t address;
};

/* Starts the process; guest memory is `memory_fd`. Returns 0 or -errno. */
int direct_runner_start(
	struct direct_runner *runner, struct direct_commands *commands, int memory_fd, gva_t stub);
/* From any thread, while nobody else uses it. */
void direct_runner_stop(struct direct_runner *runner);

/* Queue commands; they are carried out by direct_runner_commit, in order, at the latest. Returns 0
 * or -errno. */
int direct_runner_map(struct direct_runner *runner, gva_t at, uint64_t size, int protection,
	bool copy, uint64_t offset);
int direct_runner_unmap(struct direct_runner *runner, gva_t at, uint64_t size);
int direct_runner_unmap_all(struct direct_runner *runner);
int direct_runner_commit(struct direct_runner *runner);

/* Puts INT3 into a page that is mapped as a copy. Returns 0 or -errno. */
int direct_runner_trap(struct direct_runner *runner, gva_t at);

/* Runs guest code from runner->regs on until it stops. */
enum direct_stop direct_runner_run(struct direct_runner *runner, struct direct_signal *signal);

/* Stops it if it runs. Any thread; async-signal-safe. */
void direct_runner_kick(int pid);

/* Processor time it has used. */
ns_t direct_runner_time(pid_t runner);
/* ...and that of the calling thread. */
ns_t direct_thread_time(void);

/* What a stop and going on again cost this host, in processor time. */
struct direct_stop_cost {
	ns_t runner_ns, thread_ns;
};

/* Lets the runner stop a few times and measures that. Returns 0 or -errno. */
int direct_runner_measure(struct direct_runner *runner, struct direct_stop_cost *cost);

/* The vector registers, as an XSAVE image of x87, SSE and AVX; all else is initial. */
int direct_runner_put_vectors(struct direct_runner *runner, const void *image, size_t size);
int direct_runner_get_vectors(struct direct_runner *runner, void *image, size_t size);

#endif
