/*
 * IN, OUT, INS, OUTS (SDM 1 chapter 19, SDM 2).
 *
 * The string forms move one element after another, each complete before the next: a fault leaves
 * the registers at the element that faulted. A repeated one stops after STRING_CHUNK elements and
 * is run again, so that events are not kept waiting.
 */
#include "engine/soft/operand.h"

#include "engine/soft/debug.h"
#include "engine/soft/vector.h"

#define STRING_CHUNK 64

#define TSS_IO_BASE 0x66

/* The I/O permission bitmap: one bit for each port, two bytes read whatever the size; outside the
 * TSS's limit nothing is permitted (SDM 1 19.5.2). */
static bool bitmap_permits(struct vcpu *vcpu, uint16_t port, unsigned size)
{
	const struct cpu_segment *tr = &vcpu->segment[X86_TR];
	unsigned type = field_get(SEG_TYPE, tr->attributes);
	uint32_t at;
	unsigned bits;

	if (!(tr->attributes & SEG_P) || (type != SEG_TYPE_TSS_FREE && type != SEG_TYPE_TSS_BUSY) ||
		tr->limit < TSS_IO_BASE + 1)
		return false;
	at = (uint32_t)mmu_system_read(vcpu, tr->base + TSS_IO_BASE, 2) + port / 8;
	if (at + 1 > tr->limit)
		return false;
	bits = (unsigned)mmu_system_read(vcpu, tr->base + at, 2) >> port % 8;
	return !(bits & ((1u << size) - 1));
}

static void check_permission(struct vcpu *vcpu, uint16_t port, unsigned size)
{
	if (!vcpu->mode.protected_mode)
		return;
	if (!vcpu->mode.virtual_8086 &&
		vcpu->mode.cpl <= field_get(RFLAGS_IOPL, vcpu->flags_system))
		return;
	if (!bitmap_permits(vcpu, port, size))
		cpu_raise_error(vcpu, X86_GP, 0);
}

static unsigned io_size(const struct insn *insn)
{
	return insn->operand_bytes > 4 ? 4 : insn->operand_bytes;
}

static uint64_t port_read(struct vcpu *vcpu, uint16_t port, unsigned size)
{
	uint64_t value;

	vector_leave(vcpu);
	value = machine_pio_read(vcpu->machine, port, size);
	debug_io_access(vcpu, port, size);
	return value;
}

static void port_write(struct vcpu *vcpu, uint16_t port, unsigned size, uint64_t value)
{
	vector_leave(vcpu);
	machine_pio_write(vcpu->machine, port, size, value);
	debug_io_access(vcpu, port, size);
}

static void in(struct vcpu *vcpu, const struct insn *insn, uint16_t port)
{
	unsigned size = io_size(insn);

	check_permission(vcpu, port, size);
	gpr_write(vcpu, X86_RAX, size, port_read(vcpu, port, size));
}

static void out(struct vcpu *vcpu, const struct insn *insn, uint16_t port)
{
	unsigned size = io_size(insn);

	check_permission(vcpu, port, size);
	port_write(vcpu, port, size, gpr_read(vcpu, X86_RAX, size));
}

EXEC(exec_in_imm)
{
	in(vcpu, insn, insn->imm & 0xff);
}

EXEC(exec_in_dx)
{
	in(vcpu, insn, (uint16_t)vcpu->gpr[X86_RDX]);
}

EXEC(exec_out_imm)
{
	out(vcpu, insn, insn->imm & 0xff);
}

EXEC(exec_out_dx)
{
	out(vcpu, insn, (uint16_t)vcpu->gpr[X86_RDX]);
}

static uint64_t read_element(struct vcpu *vcpu, gva_t address, unsigned size)
{
	switch (size) {
	case 1: return mmu_read_u8(vcpu, address);
	case 2: return mmu_read_u16(vcpu, address);
	default: return mmu_read_u32(vcpu, address);
	}
}

static void write_element(struct vcpu *vcpu, gva_t address, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: mmu_write_u8(vcpu, address, (uint8_t)value); break;
	case 2: mmu_write_u16(vcpu, address, (uint16_t)value); break;
	default: mmu_write_u32(vcpu, address, (uint32_t)value);
	}
}

static void in_element(struct vcpu *vcpu, const struct insn *insn, uint16_t port, unsigned size)
{
	uint64_t offset = gpr_read(vcpu, X86_RDI, insn->address_bytes);
	gva_t address = segment_linear(vcpu, X86_ES, offset, size, MMU_WRITE);

	/* A port is read only once it is certain that its value has a place to go. */
	mmu_probe_write(vcpu, address, size);
	write_element(vcpu, address, size, port_read(vcpu, port, size));
}

static void out_element(struct vcpu *vcpu, const struct insn *insn, uint16_t port, unsigned size)
{
	uint64_t offset = gpr_read(vcpu, X86_RSI, insn->address_bytes);
	gva_t address = segment_linear(vcpu, insn->segment, offset, size, MMU_READ);

	port_write(vcpu, port, size, read_element(vcpu, address, size));
}

static void advance(struct vcpu *vcpu, enum x86_gpr index, const struct insn *insn, unsigned size)
{
	uint64_t step = vcpu->flags_system & RFLAGS_DF ? -(uint64_t)size : size;

	gpr_write(vcpu, index, insn->address_bytes, vcpu->gpr[index] + step);
}

typedef void element_function(
	struct vcpu *vcpu, const struct insn *insn, uint16_t port, unsigned size);

static void string_io(
	struct vcpu *vcpu, const struct insn *insn, element_function *element, enum x86_gpr index)
{
	const bool repeated = insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
	uint16_t port = (uint16_t)vcpu->gpr[X86_RDX];
	unsigned size = io_size(insn);

	check_permission(vcpu, port, size);
	for (unsigned done = 0; done < STRING_CHUNK; done++) {
		uint64_t count = gpr_read(vcpu, X86_RCX, insn->address_bytes);

		if (repeated && count == 0)
			return;
		element(vcpu, insn, port, size);
		advance(vcpu, index, insn, size);
		if (!repeated)
			return;
		gpr_write(vcpu, X86_RCX, insn->address_bytes, count - 1);
	}
	if (gpr_read(vcpu, X86_RCX, insn->address_bytes) != 0)
		string_goes_on(vcpu);
}

EXEC(exec_ins)
{
	string_io(vcpu, insn, in_element, X86_RDI);
}

EXEC(exec_outs)
{
	string_io(vcpu, insn, out_element, X86_RSI);
}
