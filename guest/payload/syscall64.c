/* SYSCALL, SYSRET, SYSENTER, SYSEXIT: the instructions' pages in SDM 2B, APM 3. */
#include "payload.h"

#define STAR ((u64)SEL_CODE << 32 | (u64)SEL_USER_CODE32 << 48)

static struct {
	word rcx, r11, flags, cs, ss, rsp;
} seen;

extern char syscall_entry[], sysenter_entry[];

/* Keeps what it sees, and returns by SYSRET. */
asm(".text; syscall_entry:"
    "mov %rcx, seen_area; mov %r11, seen_area + 8; pushf; pop seen_area + 16;"
    "mov %cs, seen_area + 24; mov %ss, seen_area + 32; mov %rsp, seen_area + 40;"
    "sysretq;"
    "sysenter_entry:"
    "pushf; pop seen_area + 16; mov %cs, seen_area + 24; mov %ss, seen_area + 32;"
    "mov %rsp, seen_area + 40; sysexitq;");
asm(".data; .align 8; seen_area: .skip 48; .text");
extern u64 seen_area[6];

static void take(void)
{
	memcpy(&seen, seen_area, sizeof(seen));
	seen.cs &= 0xffff;
	seen.ss &= 0xffff;
}

static void USER_CODE user_syscall(void *unused)
{
	(void)unused;
	asm volatile("pushf; orl $0x400, (%%rsp); popf; syscall; cld" ::: "rcx", "r11", "memory");
	user_exit();
}

static void kernel_syscall(void *unused)
{
	(void)unused;
	asm volatile("syscall" ::: "rcx", "r11", "memory");
}

static void sysret(void *target)
{
	asm volatile("mov %0, %%rcx; mov $2, %%r11; sysretq" ::"r"(target) : "rcx", "r11");
}

static void of_syscall(void)
{
	u64 efer = rdmsr(MSR_EFER);

	wrmsr(MSR_EFER, efer & ~EFER_SCE);
	check_trap(attempt(kernel_syscall, NULL), UD, 0, "SYSCALL without EFER.SCE");
	check_trap(attempt(sysret, user_syscall), UD, 0, "SYSRET without EFER.SCE");
	wrmsr(MSR_EFER, efer | EFER_SCE);
	wrmsr(MSR_STAR, STAR);
	wrmsr(MSR_LSTAR, (word)syscall_entry);
	wrmsr(MSR_SFMASK, FLAG_DF | FLAG_IF);
	check_trap(attempt_user(user_syscall, NULL), USER_EXIT, 0, "SYSCALL and SYSRET");
	take();
	check_equal(seen.cs, SEL_CODE, "SYSCALL: CS");
	check_equal(seen.ss, SEL_DATA, "SYSCALL: SS");
	check(seen.r11 & FLAG_DF, "SYSCALL: R11 has the flags");
	check(!(seen.flags & FLAG_DF), "SYSCALL: SFMASK clears flags");
	check(seen.rcx > 0x400000 && seen.rcx < 0x500000, "SYSCALL: RCX has the return address");
	check(seen.rsp - (word)user_stack < sizeof(user_stack), "SYSCALL: RSP stays");
	check_equal(last_trap.cs, SEL_USER_CODE64, "SYSRET: CS");
	check_equal(last_trap.ss, SEL_USER_DATA, "SYSRET: SS");
}

static void USER_CODE user_sysret(void *unused)
{
	(void)unused;
	asm volatile("sysretq");
	user_exit();
}

static void USER_CODE user_sysenter(void *unused)
{
	(void)unused;
	asm volatile("mov %%rsp, %%rcx; lea 1f(%%rip), %%rdx; sysenter; 1:" ::
			     : "rcx", "rdx", "memory");
	user_exit();
}

static void USER_CODE user_sysexit(void *unused)
{
	(void)unused;
	asm volatile("sysexitq");
	user_exit();
}

static void of_sysenter(void)
{
	static u8 stack[1024] __attribute__((aligned(16)));

	if (!(cpuid(1, 0).edx & BIT(11))) {
		skip("SYSENTER", "not in CPUID");
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	check_trap(attempt_user(user_sysenter, NULL), GP, 0, "SYSENTER with a null CS");
	/* SYSEXIT to 64-bit code takes CS from SYSENTER_CS + 32. */
	gdt_set(SEL_FREE + 0, descriptor(0, ~0u, D_CODE | D_LONG | D_PAGES));
	gdt_set(SEL_FREE + 8, descriptor(0, ~0u, D_DATA | D_32 | D_PAGES));
	gdt_set(SEL_FREE + 16, descriptor(0, ~0u, D_CODE | D_DPL(3) | D_32 | D_PAGES));
	gdt_set(SEL_FREE + 24, descriptor(0, ~0u, D_DATA | D_DPL(3) | D_32 | D_PAGES));
	gdt_set(SEL_FREE + 32, descriptor(0, ~0u, D_CODE | D_DPL(3) | D_LONG | D_PAGES));
	gdt_set(SEL_FREE + 40, descriptor(0, ~0u, D_DATA | D_DPL(3) | D_32 | D_PAGES));
	wrmsr(MSR_SYSENTER_CS, SEL_FREE);
	wrmsr(MSR_SYSENTER_ESP, (word)stack + sizeof(stack));
	wrmsr(MSR_SYSENTER_EIP, (word)sysenter_entry);
	check_trap(attempt_user(user_sysenter, NULL), USER_EXIT, 0, "SYSENTER and SYSEXIT");
	take();
	check_equal(seen.cs, SEL_FREE, "SYSENTER: CS");
	check_equal(seen.ss, SEL_FREE + 8, "SYSENTER: SS");
	check_equal(seen.rsp, (word)stack + sizeof(stack), "SYSENTER: RSP");
	check(!(seen.flags & FLAG_IF), "SYSENTER: IF is clear");
	check_equal(last_trap.cs, (SEL_FREE + 32) | 3, "SYSEXIT: CS");
	check_equal(last_trap.ss, (SEL_FREE + 40) | 3, "SYSEXIT: SS");
	check_trap(attempt_user(user_sysexit, NULL), GP, 0, "SYSEXIT in ring 3");
}

void payload(void)
{
	of_syscall();
	check_trap(attempt_user(user_sysret, NULL), GP, 0, "SYSRET in ring 3");
	of_sysenter();
}
