/*
 * Whether this host can run the KVM engine, and what to do if it cannot.
 *
 * A /dev/kvm alone proves nothing: some sandboxes offer one that emulates, without hardware
 * virtualization behind it, and cannot boot an unmodified kernel. The processor's own flags decide.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KVM_API_VERSION_NEEDED 12

static const struct {
	int capability;
	const char *name;
} needed[] = {
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
	{ KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API" },
	{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
	{ KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK" },
	{ KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR" },
	{ KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER" },
	{ KVM_CAP_SREGS2, "KVM_CAP_SREGS2" },
	{ KVM_CAP_VCPU_ATTRIBUTES, "KVM_CAP_VCPU_ATTRIBUTES" },
};

/* True if one of the "flags" words of the file is vmx or svm. */
static bool has_hardware_virtualization(const char *cpuinfo_path)
{
	FILE *file = fopen(cpuinfo_path, "re");
	char *line = NULL;
	size_t capacity = 0;
	bool found = false;

	if (!file)
		return false;
	while (!found && getline(&line, &capacity, file) > 0) {
		char *rest = NULL;

		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *word = strtok_r(line, " \t\n", &rest); word && !found;
			word = strtok_r(NULL, " \t\n", &rest))
			found = !strcmp(word, "vmx") || !strcmp(word, "svm");
		break;
	}
	free(line);
	fclose(file);
	return found;
}

static int open_error(const char *path, int reason, struct error *err)
{
	switch (reason) {
	case EACCES:
	case EPERM:
		return error_set(err, EXIT_CODE_PERMISSION,
			"no permission to open %s: join the group kvm (adduser $USER kvm, then log "
			"in again), or use --engine soft",
			path);
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"there is no %s: load the kernel module kvm_intel or kvm_amd, or use "
			"--engine soft",
			path);
	default:
		return error_set_errno(
			err, EXIT_CODE_HOST, reason, "cannot open %s (or use --engine soft)", path);
	}
}

static int check_capabilities(int fd, const char *path, struct error *err)
{
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION_NEEDED)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"%s is not a KVM device that Atoll knows: use --engine soft", path);
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].capability) > 0)
			continue;
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"this kernel's KVM lacks %s: use Linux 5.16 or later, or --engine soft",
			needed[i].name);
	}
	return 0;
}

int kvm_probe_open(const char *cpuinfo_path, const char *device_path, struct error *err)
{
	int fd, rc;

	if (!has_hardware_virtualization(cpuinfo_path))
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"this host's processor offers no hardware virtualization (neither vmx nor "
			"svm in %s): enable it in the firmware, or use --engine soft",
			cpuinfo_path);
	fd = open(device_path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return open_error(device_path, errno, err);
	rc = check_capabilities(fd, device_path, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}
