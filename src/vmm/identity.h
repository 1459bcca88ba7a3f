/*
 * What the machine says of itself (SMBIOS), as `--smbios` has it: KEY=VALUE,...
 */
#ifndef VMM_IDENTITY_H
#define VMM_IDENTITY_H

#include "base/properties.h"
#include "firmware/smbios.h"
#include "vmm/vm.h"
#include "x86/cpu_model.h"

struct identity {
	struct properties properties; /* owns the texts */
	struct smbios_config smbios;
};

/* `text` may be NULL. `config` and `model` may be NULL, to see whether the text can be read.
 * Returns 0, or fills `err`; finish it in either case. */
int identity_init(struct identity *identity, const char *text, const struct vm_config *config,
	const struct cpu_model *model, struct error *err);
void identity_finish(struct identity *identity);

#endif
