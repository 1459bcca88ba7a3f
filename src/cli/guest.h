/* The agent inside a guest, as commands reach it. */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include "agent/agent.h"
#include "bundle/bundle.h"

/* Connects to the agent of a VM that runs; 0, or fills `err`. */
int guest_open_agent(struct agent *agent, const struct bundle *bundle, struct error *err);

#endif
