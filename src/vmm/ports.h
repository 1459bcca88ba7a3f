/*
 * The virtio console of a VM: `--console` and `--port`, each a port of one device.
 */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#include "virtio/virtio_console.h"
#include "vmm/vm.h"

struct ports {
	struct virtio_console_port_config configs[VIRTIO_CONSOLE_MAX_PORTS];
	char *paths[VIRTIO_CONSOLE_MAX_PORTS]; /* of sockets to be removed at the end; may be NULL
						*/
	char *names[VIRTIO_CONSOLE_MAX_PORTS];
	unsigned count;
};

bool ports_are_wanted(const struct vm_config *config);

/* Reads what --console was given: attach, unix:PATH or file:PATH. Returns 0, or fills `err`. */
int ports_check_console(const char *value, struct error *err);
/* The same for --port: unix:PATH,name=NAME. */
int ports_check_port(const char *value, struct error *err);

/*
 * Opens what `config` asks for and makes the device "console0". Returns 0, or fills `err`;
 * ports_finish in either case.
 */
int ports_create(struct ports *ports, struct virtio_device **device, const char *name,
	const struct vm_config *config, struct machine *machine, struct error *err);
/* Removes the sockets. A zeroed one is fine. */
void ports_finish(struct ports *ports);

#endif
