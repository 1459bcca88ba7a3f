#include "vmm/ports.h"

#include "base/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

bool ports_are_wanted(const struct vm_config *config)
{
	return config->console || config->nr_ports > 0;
}

static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return text && strncmp(text, prefix, length) == 0 && text[length] ? text + length : NULL;
}

int ports_check_console(const char *value, struct error *err)
{
	if (after(value, "unix:") || after(value, "file:") || strcmp(value, "attach") == 0)
		return 0;
	return error_set(err, EXIT_CODE_USAGE,
		"--console does not know '%s'; use attach, unix:PATH or file:PATH", value);
}

/* Splits unix:PATH,name=NAME; both are to be freed. */
static int parse_port(const char *value, char **path, char **name, struct error *err)
{
	struct properties properties = { 0 };
	const char *socket_path, *given;
	int rc = properties_parse(&properties, "port", value, err);

	*path = *name = NULL;
	if (rc == 0) {
		socket_path = after(properties.word, "unix:");
		given = properties_take(&properties, "name");
		if (!socket_path || !given || !*given || strlen(given) >= VIRTIO_CONSOLE_NAME_BYTES)
			rc = error_set(err, EXIT_CODE_USAGE,
				"--port %s lacks its socket or its name; give unix:PATH,name=NAME "
				"with a name of less than %u bytes",
				value, VIRTIO_CONSOLE_NAME_BYTES);
		else
			rc = properties_check(&properties, "name", err);
		if (rc == 0) {
			*path = strdup(socket_path);
			*name = strdup(given);
		}
	}
	properties_finish(&properties);
	return rc;
}

int ports_check_port(const char *value, struct error *err)
{
	char *path, *name;
	int rc = parse_port(value, &path, &name, err);

	free(path);
	free(name);
	return rc;
}

static int listen_at(const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, EXIT_CODE_USAGE,
			"the path %s is too long for a socket; choose one under %zu bytes", path,
			sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	/* A socket left by a VM that was killed is replaced; anything else is not ours. */
	if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, 1) < 0) {
		error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot listen on the socket %s; choose another path", path);
		if (fd >= 0)
			close(fd);
		return -EINVAL;
	}
	return fd;
}

static struct virtio_console_port_config *next_port(struct ports *ports, struct error *err)
{
	struct virtio_console_port_config *port = &ports->configs[ports->count];

	if (ports->count == VIRTIO_CONSOLE_MAX_PORTS) {
		error_set(err, EXIT_CODE_CONFIG,
			"there are too many ports; --console and --port have %u together",
			VIRTIO_CONSOLE_MAX_PORTS);
		return NULL;
	}
	*port = (struct virtio_console_port_config){ .listen_fd = -1, .in_fd = -1, .out_fd = -1 };
	ports->count++;
	return port;
}

/* A socket in the VM's directory, for 'atoll console --hvc'. */
static int listen_in_bundle(const struct bundle *bundle, struct error *err)
{
	int fd;

	if (!bundle)
		return error_set(err, EXIT_CODE_CONFIG,
			"--console attach is for a VM with a name; give it one with --name NAME");
	fd = bundle_listen(bundle, BUNDLE_HVC);
	if (fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -fd,
			"cannot listen on %s/" BUNDLE_HVC, bundle->path);
	return fd;
}

static int open_console(struct ports *ports, const struct vm_config *config, struct error *err)
{
	struct virtio_console_port_config *port = next_port(ports, err);
	const char *value = config->console, *path = after(value, "unix:");

	port->is_console = true; /* the first of all, so there was room */
	if (strcmp(value, "attach") == 0) {
		port->listen_fd = listen_in_bundle(config->bundle, err);
		return port->listen_fd < 0 ? -EINVAL : 0;
	}
	if (path) {
		port->listen_fd = listen_at(path, err);
		if (port->listen_fd < 0)
			return port->listen_fd;
		ports->paths[ports->count - 1] = strdup(path);
		return 0;
	}
	path = after(value, "file:");
	port->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (port->out_fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write %s; choose another file with --console file:PATH", path);
	return 0;
}

static int open_port(struct ports *ports, const char *value, struct error *err)
{
	struct virtio_console_port_config *port = next_port(ports, err);
	char *path, *name;
	int rc;

	if (!port)
		return -EINVAL;
	rc = parse_port(value, &path, &name, err);
	if (rc < 0)
		return rc;
	ports->names[ports->count - 1] = name;
	port->name = name;
	port->listen_fd = path ? listen_at(path, err) : -1;
	if (port->listen_fd < 0) {
		free(path);
		return -EINVAL;
	}
	ports->paths[ports->count - 1] = path;
	return 0;
}

static int open_all(struct ports *ports, const struct vm_config *config, struct error *err)
{
	int rc = 0;

	if (config->console)
		rc = open_console(ports, config, err);
	for (unsigned i = 0; i < config->nr_ports && rc == 0; i++)
		rc = open_port(ports, config->ports[i], err);
	return rc;
}

int ports_create(struct ports *ports, struct virtio_device **device, const char *name,
	const struct vm_config *config, struct machine *machine, struct error *err)
{
	struct virtio_console_config console = { .name = name, .machine = machine };
	int rc = open_all(ports, config, err);

	if (rc < 0) {
		for (unsigned i = 0; i < ports->count; i++) {
			if (ports->configs[i].listen_fd >= 0)
				close(ports->configs[i].listen_fd);
			if (ports->configs[i].out_fd >= 0)
				close(ports->configs[i].out_fd);
		}
		return rc;
	}
	console.ports = ports->configs;
	console.nr_ports = ports->count;
	return virtio_console_create(device, &console, err);
}

void ports_finish(struct ports *ports)
{
	for (unsigned i = 0; i < VIRTIO_CONSOLE_MAX_PORTS; i++) {
		if (ports->paths[i])
			unlink(ports->paths[i]);
		free(ports->paths[i]);
		free(ports->names[i]);
	}
	memset(ports, 0, sizeof(*ports));
}
