/*
 * Exceptions and interrupts: recognition of nested faults, and delivery through the real-mode
 * table, protected-mode gates and task gates, and long-mode gates with IST (SDM 3A chapter 6;
 * 6.15 double faults; 20.1.4 real mode; 20.3 virtual-8086 mode and VME).
 *
 * cpu_raise notes the exception and leaves for the run loop, which calls exception_deliver. While
 * an event is delivered vcpu->delivering names it, so that a fault on the way becomes a double
 * fault or is delivered in its place.
 */
#include "engine/soft/exception.h"

#include "base/trace.h"

#include "engine/soft/descriptor.h"
#include "engine/soft/execute.h"
#include "engine/soft/operand.h"

enum event_kind {
	EVENT_EXCEPTION,
	EVENT_EXTERNAL,  /* interrupts, NMI */
	EVENT_INT_N,     /* INT n: virtual-8086 mode has rules of its own */
	EVENT_INT3_INTO, /* gate privilege is checked */
	EVENT_INT1,      /* it is not */
};

struct event {
	enum event_kind kind;
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t return_rip;
	uint64_t rflags; /* to push */
};

/* In error codes of faults on the way through the IDT, SDM 3A 6.13. */
#define ERROR_EXT BIT(0)
#define ERROR_IDT BIT(1)

static _Noreturn void leave(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
	vcpu->fault_vector = vector;
	vcpu->fault_has_error = has_error;
	vcpu->fault_error = error;
	if (vcpu->split_locked)
		rmw_unlock(vcpu);
	__builtin_longjmp(vcpu->fault_frame, 1);
}

void cpu_raise(struct vcpu *vcpu, enum x86_vector vector)
{
	leave(vcpu, vector, false, 0);
}

void cpu_raise_error(struct vcpu *vcpu, enum x86_vector vector, uint32_t error)
{
	if (vcpu->delivering && vcpu->delivering_external && vector != X86_PF)
		error |= ERROR_EXT;
	leave(vcpu, vector, true, error);
}

void cpu_raise_page_fault(struct vcpu *vcpu, gva_t address, uint32_t error)
{
	vcpu->cr2 = address;
	leave(vcpu, X86_PF, true, error);
}

static bool is_contributory(unsigned vector)
{
	return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP);
}

/* SDM 3A table 6-5. */
static bool is_double_fault(unsigned first, unsigned second)
{
	if (is_contributory(first))
		return is_contributory(second);
	if (first == X86_PF)
		return is_contributory(second) || second == X86_PF;
	return false;
}

/* Exceptions whose return address is that of the instruction itself, and that set RF. */
static bool is_fault(unsigned vector)
{
	return vector != X86_DB && vector != X86_NMI && vector != X86_BP && vector != X86_OF &&
	       vector != X86_DF && vector != X86_MC;
}

static void clear_flags(struct vcpu *vcpu, uint64_t flags)
{
	vcpu->flags_system &= ~flags;
	vcpu_update_mode(vcpu);
}

static void push_real(struct vcpu *vcpu, struct event *event, uint64_t rflags)
{
	struct stack stack = stack_current(vcpu);

	stack_frame_push(vcpu, &stack, 2, rflags);
	stack_frame_push(vcpu, &stack, 2, vcpu->segment[X86_CS].selector);
	stack_frame_push(vcpu, &stack, 2, event->return_rip);
	stack_commit(vcpu, &stack);
}

static void deliver_real(struct vcpu *vcpu, struct event *event)
{
	unsigned offset = event->vector * 4u;
	uint32_t target;

	if (offset + 3 > vcpu->idtr.limit)
		cpu_raise_error(vcpu, X86_GP, offset * 2 + ERROR_IDT);
	target = mmu_system_read(vcpu, (uint32_t)(vcpu->idtr.base + offset), 4);
	push_real(vcpu, event, event->rflags);
	segment_load_real(vcpu, X86_CS, target >> 16);
	vcpu->next_rip = target & 0xffff;
	clear_flags(vcpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
}

/* The software-interrupt redirection bitmap lies before the I/O bitmap (SDM 3A 20.3.3). */
static bool is_redirected(struct vcpu *vcpu, uint8_t vector)
{
	const struct cpu_segment *tss = &vcpu->segment[X86_TR];
	unsigned at;

	if (!(vcpu->cr4 & CR4_VME) || tss->limit < 103)
		return false;
	at = mmu_system_read(vcpu, (uint32_t)(tss->base + 102), 2) + vector / 8;
	if (at < 32 || at - 32 > tss->limit)
		return false;
	return !(mmu_system_read(vcpu, (uint32_t)(tss->base + at - 32), 1) >> vector % 8 & 1);
}

/* INT n to the virtual-8086 program's own table at linear 0. */
static void deliver_redirected(struct vcpu *vcpu, struct event *event)
{
	uint32_t target = mmu_read_u32(vcpu, event->vector * 4u);
	bool virtual_if = field_get(RFLAGS_IOPL, vcpu->flags_system) < 3;
	uint64_t rflags = event->rflags;

	if (virtual_if) {
		rflags = field_set(RFLAGS_IF, rflags, (rflags & RFLAGS_VIF) != 0);
		rflags |= RFLAGS_IOPL;
	}
	push_real(vcpu, event, rflags);
	segment_load_real(vcpu, X86_CS, target >> 16);
	vcpu->next_rip = target & 0xffff;
	clear_flags(vcpu, RFLAGS_TF | RFLAGS_RF | (virtual_if ? RFLAGS_VIF : RFLAGS_IF));
}

static uint32_t idt_error(const struct event *event)
{
	return event->vector * 8 + ERROR_IDT;
}

static void check_gate(struct vcpu *vcpu, const struct event *event, uint32_t attributes)
{
	bool checked = event->kind == EVENT_INT_N || event->kind == EVENT_INT3_INTO;

	if (checked && attributes_dpl(attributes) < vcpu->mode.cpl)
		cpu_raise_error(vcpu, X86_GP, idt_error(event));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, idt_error(event));
}

/* The handler's code segment; returns the CPL it runs at. */
static unsigned gate_code(struct vcpu *vcpu, uint16_t selector, struct descriptor *code)
{
	uint32_t attributes;
	unsigned dpl;

	if (selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	descriptor_need(vcpu, selector, code, X86_GP);
	attributes = descriptor_attributes(code);
	dpl = attributes_dpl(attributes);
	if (!attributes_are_code(attributes) || dpl > vcpu->mode.cpl)
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	if (vcpu->mode.long_mode && (attributes & (SEG_L | SEG_DB)) != SEG_L)
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(selector));
	if (attributes_are_conforming(attributes))
		dpl = vcpu->mode.cpl;
	if (vcpu->mode.virtual_8086 && dpl != 0)
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	descriptor_set_accessed(vcpu, code);
	return dpl;
}

static void enter_handler(struct vcpu *vcpu, const struct descriptor *code, unsigned cpl,
	const struct stack *stack, uint64_t rip, bool is_interrupt_gate)
{
	segment_set_cs(vcpu, code, cpl);
	stack_commit(vcpu, stack);
	if (stack->bytes == 8)
		vcpu->gpr[X86_RSP] = stack->rsp;
	vcpu->next_rip = rip;
	clear_flags(vcpu, RFLAGS_TF | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT |
				  (is_interrupt_gate ? RFLAGS_IF : 0));
}

static void push_data_segments(struct vcpu *vcpu, struct stack *stack, unsigned bytes)
{
	static const uint8_t order[] = { X86_GS, X86_FS, X86_DS, X86_ES };

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		stack_frame_push(vcpu, stack, bytes, vcpu->segment[order[i]].selector);
}

static void clear_data_segments(struct vcpu *vcpu)
{
	static const uint8_t all[] = { X86_GS, X86_FS, X86_DS, X86_ES };

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		vcpu->segment[all[i]] = segment_null(0, 0);
}

static void deliver_protected_gate(struct vcpu *vcpu, struct event *event, uint64_t gate)
{
	unsigned type = gate >> 40 & 0xf;
	unsigned bytes = type & 8 ? 4 : 2;
	uint32_t rip = (gate & 0xffff) | (bytes == 4 ? gate >> 32 & 0xffff0000 : 0);
	bool from_virtual_8086 = vcpu->mode.virtual_8086;
	struct descriptor code;
	unsigned cpl = gate_code(vcpu, gate >> 16 & 0xffff, &code);
	struct cpu_segment target = descriptor_segment(&code, 0);
	struct stack stack;

	if (cpl < vcpu->mode.cpl) {
		stack = stack_from_tss(vcpu, cpl);
		if (from_virtual_8086)
			push_data_segments(vcpu, &stack, bytes);
		stack_frame_push(vcpu, &stack, bytes, vcpu->segment[X86_SS].selector);
		stack_frame_push(vcpu, &stack, bytes, vcpu->gpr[X86_RSP]);
	} else {
		stack = stack_current(vcpu);
	}
	stack_frame_push(vcpu, &stack, bytes, event->rflags);
	stack_frame_push(vcpu, &stack, bytes, vcpu->segment[X86_CS].selector);
	stack_frame_push(vcpu, &stack, bytes, event->return_rip);
	if (event->has_error)
		stack_frame_push(vcpu, &stack, bytes, event->error);
	segment_check_target(vcpu, &target, rip);
	if (from_virtual_8086)
		clear_data_segments(vcpu);
	enter_handler(vcpu, &code, cpl, &stack, rip, !(type & 1));
}

static void deliver_task_gate(struct vcpu *vcpu, struct event *event, uint64_t gate)
{
	/* The old task's image has the return address and flags that the frame would have. */
	vcpu->next_rip = event->return_rip;
	vcpu->flags_system = (vcpu->flags_system & ~RFLAGS_RF) | (event->rflags & RFLAGS_RF);
	task_switch(vcpu, gate >> 16 & 0xffff, TASK_SWITCH_GATE,
		event->has_error ? (int64_t)event->error : -1);
}

static void deliver_protected(struct vcpu *vcpu, struct event *event)
{
	unsigned offset = event->vector * 8u;
	uint64_t gate;

	if (offset + 7 > vcpu->idtr.limit)
		cpu_raise_error(vcpu, X86_GP, idt_error(event));
	gate = mmu_system_read(vcpu, (uint32_t)(vcpu->idtr.base + offset), 8);
	switch (gate >> 40 & 0x1f) {
	case SEG_TYPE_TASK_GATE:
		check_gate(vcpu, event, gate >> 40 & 0xff);
		deliver_task_gate(vcpu, event, gate);
		break;
	case SEG_TYPE_INT16:
	case SEG_TYPE_TRAP16:
	case SEG_TYPE_INT:
	case SEG_TYPE_TRAP:
		check_gate(vcpu, event, gate >> 40 & 0xff);
		deliver_protected_gate(vcpu, event, gate);
		break;
	default: cpu_raise_error(vcpu, X86_GP, idt_error(event));
	}
}

static struct stack long_mode_stack(struct vcpu *vcpu, unsigned cpl, unsigned ist)
{
	struct stack stack;

	if (ist)
		stack = stack_from_tss64(vcpu, cpl, 28 + 8 * ist);
	else if (cpl < vcpu->mode.cpl)
		stack = stack_from_tss(vcpu, cpl);
	else
		stack = stack_current(vcpu);
	stack.bytes = 8;
	stack.cpl = cpl;
	stack.rsp &= ~UINT64_C(0xf);
	return stack;
}

static void deliver_long(struct vcpu *vcpu, struct event *event)
{
	unsigned offset = event->vector * 16u;
	uint64_t gate, rip;
	struct descriptor code;
	struct stack stack;
	unsigned type, cpl;

	if (offset + 15 > vcpu->idtr.limit)
		cpu_raise_error(vcpu, X86_GP, idt_error(event));
	gate = mmu_system_read(vcpu, vcpu->idtr.base + offset, 8);
	rip = (gate & 0xffff) | (gate >> 32 & 0xffff0000) |
	      mmu_system_read(vcpu, vcpu->idtr.base + offset + 8, 4) << 32;
	type = gate >> 40 & 0x1f;
	if (type != SEG_TYPE_INT && type != SEG_TYPE_TRAP)
		cpu_raise_error(vcpu, X86_GP, idt_error(event));
	check_gate(vcpu, event, gate >> 40 & 0xff);
	cpl = gate_code(vcpu, gate >> 16 & 0xffff, &code);
	stack = long_mode_stack(vcpu, cpl, gate >> 32 & 7);
	stack_frame_push(vcpu, &stack, 8, vcpu->segment[X86_SS].selector);
	stack_frame_push(vcpu, &stack, 8, vcpu->gpr[X86_RSP]);
	stack_frame_push(vcpu, &stack, 8, event->rflags);
	stack_frame_push(vcpu, &stack, 8, vcpu->segment[X86_CS].selector);
	stack_frame_push(vcpu, &stack, 8, event->return_rip);
	if (event->has_error)
		stack_frame_push(vcpu, &stack, 8, event->error);
	if (!x86_is_canonical(rip))
		cpu_raise_error(vcpu, X86_GP, 0);
	enter_handler(vcpu, &code, cpl, &stack, rip, !(type & 1));
}

static void deliver(struct vcpu *vcpu, struct event *event)
{
	if (!vcpu->mode.protected_mode)
		deliver_real(vcpu, event);
	else if (vcpu->mode.long_mode)
		deliver_long(vcpu, event);
	else if (vcpu->mode.virtual_8086 && event->kind == EVENT_INT_N &&
		 is_redirected(vcpu, event->vector))
		deliver_redirected(vcpu, event);
	else if (vcpu->mode.virtual_8086 && event->kind == EVENT_INT_N &&
		 field_get(RFLAGS_IOPL, vcpu->flags_system) < 3)
		cpu_raise_error(vcpu, X86_GP, 0);
	else
		deliver_protected(vcpu, event);
	vcpu->delivering = 0;
	vcpu->shadow_active = false;
}

/* Delivers at a boundary: the handler's address becomes RIP. */
static void deliver_at_boundary(struct vcpu *vcpu, struct event *event)
{
	vcpu->delivering_external = true;
	event->return_rip = vcpu->rip;
	event->rflags = vcpu_rflags(vcpu);
	if (event->kind == EVENT_EXCEPTION && is_fault(event->vector))
		event->rflags |= RFLAGS_RF;
	deliver(vcpu, event);
	vcpu->rip = vcpu->next_rip;
}

void exception_deliver(struct vcpu *vcpu)
{
	struct event event = {
		.kind = EVENT_EXCEPTION,
		.vector = vcpu->fault_vector,
		.has_error = vcpu->fault_has_error && vcpu->mode.protected_mode,
		.error = vcpu->fault_error,
	};

	if (vcpu->delivering) {
		unsigned first = vcpu->delivering - 1;

		if (first == X86_DF && (is_contributory(event.vector) || event.vector == X86_PF)) {
			vcpu->shutdown = true;
			trace(triple_fault, vcpu->rip);
			return;
		}
		if (is_double_fault(first, event.vector)) {
			event.vector = X86_DF;
			event.has_error = vcpu->mode.protected_mode;
			event.error = 0;
		}
	}
	vcpu->counters.exceptions++;
	trace(fault, event.vector, event.error, vcpu->rip, vcpu->cr2);
	vcpu->delivering = event.vector + 1;
	deliver_at_boundary(vcpu, &event);
}

void exception_deliver_pending(struct vcpu *vcpu)
{
	vcpu->exception_pending = false;
	vcpu->fault_vector = vcpu->exception_vector;
	vcpu->fault_has_error = vcpu->exception_has_error;
	vcpu->fault_error = vcpu->exception_error;
	exception_deliver(vcpu);
}

void cpu_deliver_interrupt(struct vcpu *vcpu, uint8_t vector)
{
	struct event event = { .kind = EVENT_EXTERNAL, .vector = vector };

	vcpu->counters.interrupts++;
	if (vector != X86_NMI)
		trace(interrupt, vector, vcpu->rip);
	vcpu->delivering = X86_NMI + 1;
	deliver_at_boundary(vcpu, &event);
}

void cpu_deliver_nmi(struct vcpu *vcpu)
{
	trace(nmi, vcpu->rip);
	vcpu->nmi_blocked = true;
	cpu_deliver_interrupt(vcpu, X86_NMI);
}

static void deliver_software(struct vcpu *vcpu, enum event_kind kind, uint8_t vector)
{
	struct event event = {
		.kind = kind,
		.vector = vector,
		.return_rip = vcpu->next_rip,
		.rflags = vcpu_rflags(vcpu) & ~RFLAGS_RF,
	};

	vcpu->delivering = X86_NMI + 1;
	vcpu->delivering_external = kind == EVENT_INT1;
	deliver(vcpu, &event);
	vcpu->single_step = false;
}

void cpu_software_interrupt(struct vcpu *vcpu, uint8_t vector, bool is_int_n)
{
	deliver_software(vcpu, is_int_n ? EVENT_INT_N : EVENT_INT3_INTO, vector);
}

void cpu_software_debug(struct vcpu *vcpu)
{
	deliver_software(vcpu, EVENT_INT1, X86_DB);
}
