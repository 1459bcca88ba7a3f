/*
 * Faults of translated code: an access at an address the host finds wrong, a division, an unmasked
 * floating-point exception. Translated code is left as by a stub, before the instruction; the
 * interpreter then finds what the guest is to get.
 */
#include "engine/soft/translator.h"

#include "engine/soft/flags.h"

#include <ucontext.h>

/* The handler has no other way to know. */
static __thread struct vcpu *running;

void translate_signals_begin(struct vcpu *vcpu)
{
	running = vcpu;
}

void translate_signals_end(void)
{
	running = NULL;
}

/* Translations lie in the order of their numbers. */
static const struct translation *translation_at(const struct translator *translator, uint32_t code)
{
	uint32_t low = 0, high = translator->nr_translations;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (translator->translations[middle].code <= code)
			low = middle;
		else
			high = middle;
	}
	return high > low ? &translator->translations[low] : NULL;
}

static unsigned site_at(
	const struct translator *translator, const struct translation *translation, uint32_t code)
{
	const struct site *sites = &translator->sites[translation->sites];
	unsigned n = 0;

	for (unsigned i = 0; i < translation->nr_insns; i++)
		if (translation->code + sites[i].host <= code && sites[i].host >= sites[n].host)
			n = i;
	return n;
}

static void take_registers(struct vcpu *vcpu, const greg_t *regs)
{
	static const struct {
		uint8_t gpr, reg;
	} map[] = {
		{ X86_RAX, REG_RAX },
		{ X86_RCX, REG_RCX },
		{ X86_RDX, REG_RDX },
		{ X86_RBX, REG_RBX },
		{ X86_RSP, REG_RSP },
		{ X86_RBP, REG_RBP },
		{ X86_RSI, REG_RSI },
		{ X86_RDI, REG_RDI },
		{ X86_R8, REG_R8 },
		{ X86_R9, REG_R9 },
		{ X86_R12, REG_R12 },
		{ X86_R13, REG_R13 },
		{ X86_R14, REG_R14 },
		{ X86_R15, REG_R15 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
		vcpu->gpr[map[i].gpr] = (uint64_t)regs[map[i].reg];
}

bool translate_take_signal(void *ucontext)
{
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	struct vcpu *vcpu = running;
	struct translator *translator = vcpu ? vcpu->translate.translator : NULL;
	const struct translation *translation;
	uint64_t code;
	unsigned n;

	if (!translator)
		return false;
	code = (uint64_t)regs[REG_RIP] - (uintptr_t)translator->executable;
	if (code < translator->reserved || code >= translator->used)
		return false;
	translation = translation_at(translator, (uint32_t)code);
	if (!translation)
		return false;
	n = site_at(translator, translation, (uint32_t)code);
	take_registers(vcpu, regs);
	if (!translator->sites[translation->sites + n].flags_in_memory) {
		vcpu->flags_low = (uint8_t)regs[REG_EFL];
		vcpu->flags_of = (regs[REG_EFL] & RFLAGS_OF) != 0;
	}
	vcpu->translate.exit = EXIT_INSN | n << EXIT_INSN_SHIFT |
			       (uint32_t)(translation - translator->translations)
				       << EXIT_BLOCK_SHIFT;
	translator->counters.faults++;
	regs[REG_RIP] = (greg_t)(uintptr_t)(translator->executable + translator->exit_stored);
	/* Some hosts under a hypervisor do not return to code whose RSP is not canonical, as a
	 * guest's may be: they raise #GP, at whatever instruction. */
	regs[REG_RSP] = (greg_t)vcpu->translate.host_rsp;
	return true;
}
