/*
 * A shared folder from what --share was given:
 * DIRECTORY,tag=NAME[,readonly=on][,server=builtin|virtiofsd][,cache=auto|none].
 */
#include "base/properties.h"
#include "virtio/virtio_fs.h"
#include "vmm/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int check_directory(
	const char *given, enum virtio_fs_server_kind server, char **directory, struct error *err)
{
	struct stat status;

	*directory = realpath(given, NULL);
	if (!*directory)
		return error_set_errno(
			err, EXIT_CODE_NO_FILE, errno, "cannot share the directory '%s'", given);
	if (stat(*directory, &status) < 0 || !S_ISDIR(status.st_mode))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"--share cannot share '%s': it is no directory; share the one it lies in",
			given);
	if (server == VIRTIO_FS_VIRTIOFSD && strchr(*directory, ','))
		return error_set(err, EXIT_CODE_USAGE,
			"--share cannot share '%s': virtiofsd takes no path with a comma; rename "
			"it, or leave server=virtiofsd out",
			given);
	return 0;
}

/* One of two words, the first of which is the default. */
static int parse_word(struct properties *properties, const char *key, const char *first,
	const char *second, bool *is_second, struct error *err)
{
	const char *value = properties_take(properties, key);

	*is_second = value && strcmp(value, second) == 0;
	if (!value || *is_second || strcmp(value, first) == 0)
		return 0;
	return error_set(err, EXIT_CODE_USAGE, "--share does not know %s=%s; use one of: %s %s",
		key, value, first, second);
}

static int parse(struct virtio_fs_config *config, char **directory, struct properties *properties,
	struct error *err)
{
	bool is_virtiofsd, is_uncached;

	config->tag = properties_take(properties, "tag");
	if (properties_take_bool(properties, "readonly", &config->read_only, err) ||
		parse_word(properties, "server", "builtin", "virtiofsd", &is_virtiofsd, err) ||
		parse_word(properties, "cache", "auto", "none", &is_uncached, err) ||
		properties_check(properties, "tag, readonly, server, cache", err))
		return -EINVAL;
	config->server = is_virtiofsd ? VIRTIO_FS_VIRTIOFSD : VIRTIO_FS_BUILTIN;
	config->caches = !is_uncached;
	if (!properties->word)
		return error_set(err, EXIT_CODE_USAGE,
			"--share must begin with a directory, such as --share .,tag=home");
	if (!config->tag || !*config->tag)
		return error_set(err, EXIT_CODE_USAGE,
			"--share %s lacks the name that the guest mounts; add tag=NAME",
			properties->word);
	if (strlen(config->tag) > VIRTIO_FS_TAG_BYTES)
		return error_set(err, EXIT_CODE_USAGE,
			"--share cannot use tag=%s; shorten it to %d bytes", config->tag,
			VIRTIO_FS_TAG_BYTES);
	return check_directory(properties->word, config->server, directory, err);
}

int share_create(struct virtio_device **device, const char *name, const char *value,
	struct machine *machine, struct error *err)
{
	struct virtio_fs_config config = { .name = name, .machine = machine };
	struct properties properties;
	char *directory = NULL;
	int rc = properties_parse(&properties, "share", value, err);

	if (rc)
		return rc;
	rc = parse(&config, &directory, &properties, err);
	config.directory = directory;
	if (rc == 0)
		rc = virtio_fs_create(device, &config, err);
	free(directory);
	properties_finish(&properties);
	return rc;
}
