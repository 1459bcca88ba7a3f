/*
 * Fuzz target: arbitrary bytes as what a guest agent says. Each command ends within its limits,
 * either with what it was asked for or with a sentence.
 */
#include "agent/agent.h"
#include "base/host_time.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char *const command_line[] = { (char *)"true", NULL };

static int ask(struct agent *agent, uint8_t what, struct error *err)
{
	static int null_fd = -1;
	struct agent_result result;
	json_t *interfaces;
	unsigned count;
	int failed;

	if (null_fd < 0)
		null_fd = open("/dev/null", O_RDWR);
	switch (what % 7) {
	case 0: return agent_ping(agent, err);
	case 1: return agent_freeze(agent, true, &count, err);
	case 2: return agent_set_time(agent, 1, err);
	case 3:
		failed = agent_interfaces(agent, &interfaces, err);
		json_decref(interfaces);
		return failed;
	case 4: return agent_file_get(agent, "/x", null_fd, err);
	case 5: return agent_file_put(agent, null_fd, "/x", err);
	default:
		failed = agent_exec(agent, command_line, NULL, 0, NS_PER_MS, &result, err);
		agent_result_finish(&result);
		return failed;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct error err = { 0 };
	struct agent agent;
	int ends[2];

	if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends))
		return 0;
	/* Everything is said before it is asked; then there is nobody. */
	(void)!send(ends[1], bytes + 1, size - 1, MSG_NOSIGNAL);
	shutdown(ends[1], SHUT_WR);
	agent = (struct agent){
		.fd = ends[0], .vm_name = "fuzz", .timeout_ns = NS_PER_S, .next_id = 1
	};
	if (ask(&agent, bytes[0], &err) && !err.exit_code)
		abort();
	for (const char *at = err.text; *at; at++)
		if (*at < ' ' || *at > '~')
			abort();
	agent_close(&agent);
	close(ends[1]);
	return 0;
}
