/* Single steps and INT1: SDM 3B 18.2.3, 18.3.1, SDM 3A 6.8.3. */
#include "payload.h"

#define DR6_BS BIT(14)

#define MAX_STEPS 64

static struct {
	unsigned count;
	word rip[MAX_STEPS];
	word dr6;
	word flags;
	bool stop;
} steps;

static void keep(struct trap *trap)
{
	if (steps.count < MAX_STEPS)
		steps.rip[steps.count] = trap->rip;
	if (steps.count == 0)
		steps.flags = trap->rflags;
	steps.count++;
	steps.dr6 = read_dr6();
	write_dr6(0xffff0ff0);
	if (steps.stop)
		trap->rflags &= ~(word)FLAG_TF;
}

static void start(void)
{
	memset(&steps, 0, sizeof(steps));
	set_hook(DB, keep);
}

#define LABEL(name) extern char name[] asm(#name)

static void plain(void)
{
	LABEL(step_a);
	LABEL(step_b);
	LABEL(step_c);

	start();
	asm volatile("pushf; orl $0x100, (%%rsp); popf;"
		     "nop; step_a: nop; step_b: pushf; step_c: andl $~0x100, (%%rsp); popf; nop" ::
			     : "memory", "cc");
	check_equal(steps.count, 5, "five steps from POPF to POPF");
	check_equal(
		steps.rip[0], (word)step_a, "the first is after the instruction that follows POPF");
	check_equal(steps.rip[1], (word)step_b, "the second");
	check_equal(steps.rip[2], (word)step_c, "the third");
	check(steps.dr6 & DR6_BS, "DR6.BS");
	check(steps.flags & FLAG_TF, "the first frame has TF");
}

static void strings(void)
{
	u8 bytes[4];
	LABEL(step_rep);
	LABEL(step_rep_end);
	word at = (word)bytes, n = 3;

	start();
	asm volatile("pushf; orl $0x100, (%%rsp); popf;"
		     "step_rep: rep stosb; step_rep_end: pushf; andl $~0x100, (%%rsp); popf; nop"
		     : "+D"(at), "+c"(n)
		     : "a"(0)
		     : "memory", "cc");
	check_equal(steps.count, 6, "REP STOSB of 3 takes three steps");
	check_equal(steps.rip[0], (word)step_rep, "the first");
	check_equal(steps.rip[1], (word)step_rep, "the second");
	check_equal(steps.rip[2], (word)step_rep_end, "the third");
}

static void shadow(void)
{
	LABEL(step_after_ss);
	u16 ss = SEL_DATA;

	start();
	asm volatile(
		"pushf; orl $0x100, (%%rsp); popf;"
		"mov %0, %%ss; nop; step_after_ss: pushf; andl $~0x100, (%%rsp); popf; nop" ::"r"(
			ss)
		: "memory", "cc");
	check_equal(steps.rip[0], (word)step_after_ss, "no step between MOV SS and its successor");
	check_equal(steps.count, 4, "the others are there");
}

static void count_inside(struct trap *trap)
{
	check(trap->rflags & FLAG_TF, "INT n: the frame has TF");
	check(!(read_flags() & FLAG_TF), "INT n: TF is clear inside");
}

static void software_interrupt(void)
{
	LABEL(step_int_end);

	start();
	set_hook(0x50, count_inside);
	asm volatile("pushf; orl $0x100, (%%rsp); popf;"
		     "int $0x50; nop; step_int_end: pushf; andl $~0x100, (%%rsp); popf; nop" ::
			     : "memory", "cc");
	set_hook(0x50, NULL);
	/* IRET restores TF: the step comes after the instruction that follows. */
	check_equal(
		steps.rip[0], (word)step_int_end, "INT n clears TF inside, IRET brings it back");
}

static void int1(void *unused)
{
	(void)unused;
	asm volatile(".byte 0xf1; nop");
}

static void of_int1(void)
{
	word dr6;

	set_hook(DB, NULL);
	write_dr6(0xffff0ff0);
	check_trap(attempt(int1, NULL), DB, 0, "INT1");
	dr6 = last_dr6;
	check(!(dr6 & DR6_BS), "INT1 does not set DR6.BS");
	check_equal(*(u8 *)(last_trap.rip - 1), 0xf1, "INT1 is a trap");
}

static void USER_CODE user_step(void *unused)
{
	(void)unused;
	asm volatile("pushf; orl $0x100, (%rsp); popf; nop; nop");
	user_exit();
}

static void from_ring3(void)
{
	write_dr6(0xffff0ff0);
	check_trap(attempt_user(user_step, NULL), DB, 0, "a step in ring 3");
	check(last_dr6 & DR6_BS, "DR6.BS");
	check_equal(last_trap.cs, SEL_USER_CODE, "its CS");
	write_dr6(0xffff0ff0);
}

static void iret_with_tf(void)
{
	LABEL(step_iret_target);
	word target = (word)step_iret_target;

	start();
	steps.stop = true;
	asm volatile(
		"mov %%rsp, %%rax; pushq %0; push %%rax; pushq $0x102; pushq %1; push %2; iretq;"
		"step_iret_target: nop; nop" ::"i"(SEL_DATA),
		"i"(SEL_CODE), "r"(target)
		: "rax", "memory", "cc");
	check_equal(steps.count, 1, "IRET that sets TF");
	check_equal(steps.rip[0], target + 1, "steps after its target's first instruction");
}

static void fault(void *unused)
{
	(void)unused;
	asm volatile("pushf; orl $0x100, (%%rsp); popf; step_fault: ud2" ::: "memory", "cc");
}

static void faulting(void)
{
	LABEL(step_fault);

	/* The step of an instruction that faults does not happen; the fault's frame has TF. */
	write_dr6(0xffff0ff0);
	set_hook(DB, NULL);
	check_trap(attempt(fault, NULL), UD, 0, "an instruction that faults under TF");
	check(last_trap.rflags & FLAG_TF, "the fault's frame has TF");
	check_equal(last_trap.rip, (word)step_fault, "its RIP");
	check(!(read_dr6() & DR6_BS), "no step was reported");
}

void payload(void)
{
	plain();
	strings();
	shadow();
	software_interrupt();
	of_int1();
	from_ring3();
	iret_with_tf();
	faulting();
}
