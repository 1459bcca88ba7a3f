/* Control registers, MSRs and CPUID: SDM 3A 2.5, 4.1.2, 10.9, and the instructions' pages. */
#include "payload.h"

static void set_cr0(void *value)
{
	write_cr0((word)value);
}

static void set_cr3(void *value)
{
	write_cr3((word)value);
}

static void set_cr4(void *value)
{
	write_cr4((word)value);
}

static void set_cr8(void *value)
{
	asm volatile("mov %0, %%cr8" ::"r"(value));
}

static void read_cr1(void *unused)
{
	(void)unused;
	asm volatile("mov %%cr1, %%rax" ::: "rax");
}

struct msr {
	u32 index;
	u64 value;
};

static void set_msr(void *msr_)
{
	struct msr *msr = msr_;

	wrmsr(msr->index, msr->value);
}

static void get_msr(void *msr)
{
	rdmsr(((struct msr *)msr)->index);
}

static int try_wrmsr(u32 index, u64 value)
{
	return attempt(set_msr, &(struct msr){ index, value });
}

static void control_registers(void)
{
	word cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
	u32 width = cpuid(0x80000008, 0).eax & 0xff;

	check(cr0 & BIT(4), "CR0.ET is 1");
	write_cr0(cr0 & ~BIT(4));
	check(read_cr0() & BIT(4), "CR0.ET cannot be cleared");
	check_trap(attempt(set_cr0, (void *)(cr0 & ~CR0_PE)), GP, 0, "CR0: PG without PE");
	check_trap(
		attempt(set_cr0, (void *)(cr0 & ~CR0_PG)), GP, 0, "CR0: PG cleared in 64-bit mode");
	check_trap(attempt(set_cr0, (void *)((cr0 | BIT(29)) & ~BIT(30))), GP, 0,
		"CR0: NW without CD");
	check_trap(attempt(set_cr0, (void *)(cr0 | BIT(32))), GP, 0, "CR0: upper half");
	check_trap(attempt(set_cr0, (void *)(cr0 | BIT(28))), NO_TRAP, 0,
		"CR0: a reserved bit of the lower half is ignored");
	check_equal(read_cr0(), cr0, "and reads 0");
	check_trap(
		attempt(set_cr4, (void *)(cr4 & ~CR4_PAE)), GP, 0, "CR4: PAE cleared in long mode");
	check_trap(attempt(set_cr4, (void *)(cr4 | BIT(31))), GP, 0, "CR4: a reserved bit");
	check_trap(attempt(set_cr4, (void *)(cr4 | BIT(40))), GP, 0, "CR4: the upper half");
	check_equal(read_cr4(), cr4, "CR4 is unchanged");
	if (width < 52)
		check_trap(attempt(set_cr3, (void *)(cr3 | BIT(width))), GP, 0,
			"CR3: an address beyond the physical width");
	check_equal(read_cr3(), cr3, "CR3 is unchanged");
	check_trap(attempt(set_cr8, (void *)5), NO_TRAP, 0, "CR8");
	check_trap(attempt(set_cr8, (void *)16), GP, 0, "CR8: reserved bits");
	set_cr8(NULL);
	check_trap(attempt(read_cr1, NULL), UD, 0, "CR1 does not exist");
}

static void model_specific_registers(void)
{
	u64 efer = rdmsr(MSR_EFER);

	check(efer & EFER_LMA, "EFER.LMA");
	check_trap(try_wrmsr(MSR_EFER, efer & ~EFER_LME), GP, 0, "EFER: LME cleared under paging");
	check_trap(try_wrmsr(MSR_EFER, efer | BIT(1)), GP, 0, "EFER: a reserved bit");
	check_trap(try_wrmsr(MSR_EFER, efer ^ EFER_LMA), NO_TRAP, 0, "EFER: LMA is ignored");
	check_equal(rdmsr(MSR_EFER), efer, "EFER is unchanged");
	check_trap(try_wrmsr(MSR_LSTAR, 0x800000000000), GP, 0, "LSTAR: non-canonical");
	check_trap(try_wrmsr(MSR_FS_BASE, 0x800000000000), GP, 0, "FS.base: non-canonical");
	check_trap(
		try_wrmsr(MSR_KERNEL_GS, 0x800000000000), GP, 0, "KERNEL_GS_BASE: non-canonical");
	check_trap(
		try_wrmsr(MSR_SYSENTER_EIP, 0x800000000000), GP, 0, "SYSENTER_EIP: non-canonical");
	wrmsr(MSR_KERNEL_GS, 0xffff800012345678);
	check_equal(rdmsr(MSR_KERNEL_GS), 0xffff800012345678, "KERNEL_GS_BASE");
	wrmsr(MSR_GS_BASE, 0x1111);
	asm volatile("swapgs");
	check_equal(rdmsr(MSR_GS_BASE), 0xffff800012345678, "SWAPGS: GS.base");
	check_equal(rdmsr(MSR_KERNEL_GS), 0x1111, "SWAPGS: KERNEL_GS_BASE");
	wrmsr(MSR_GS_BASE, 0);
	check_trap(attempt(get_msr, &(struct msr){ 0xdeadbeef, 0 }), GP, 0, "RDMSR of none");
	check_trap(try_wrmsr(0xdeadbeef, 0), GP, 0, "WRMSR of none");
	wrmsr(0x277, 0x0007040600070406);
	check_equal(rdmsr(0x277), 0x0007040600070406, "PAT");
	check_trap(try_wrmsr(0x277, 2), GP, 0, "PAT: type 2");
	check_trap(try_wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1), GP, 0,
		"APIC_BASE: a reserved bit");
}

static void USER_CODE user_rdmsr(void *unused)
{
	(void)unused;
	asm volatile("rdmsr" ::"c"(MSR_EFER) : "eax", "edx");
	user_exit();
}

static void USER_CODE user_cr(void *unused)
{
	(void)unused;
	asm volatile("mov %%cr0, %%rax" ::: "rax");
	user_exit();
}

static void USER_CODE user_hlt(void *unused)
{
	(void)unused;
	asm volatile("hlt");
	user_exit();
}

static void USER_CODE user_cli(void *unused)
{
	(void)unused;
	asm volatile("cli");
	user_exit();
}

static void USER_CODE user_in(void *unused)
{
	(void)unused;
	asm volatile("in $0x80, %%al" ::: "eax");
	user_exit();
}

static void USER_CODE user_sgdt(void *unused)
{
	u8 space[16];

	(void)unused;
	asm volatile("sgdt %0" : "=m"(space));
	user_exit();
}

static void USER_CODE user_rdtsc(void *unused)
{
	(void)unused;
	asm volatile("rdtsc" ::: "eax", "edx");
	user_exit();
}

static void privileges(void)
{
	check_trap(attempt_user(user_rdmsr, NULL), GP, 0, "ring 3: RDMSR");
	check_trap(attempt_user(user_cr, NULL), GP, 0, "ring 3: MOV from CR0");
	check_trap(attempt_user(user_hlt, NULL), GP, 0, "ring 3: HLT");
	check_trap(attempt_user(user_cli, NULL), GP, 0, "ring 3: CLI");
	check_trap(attempt_user(user_in, NULL), GP, 0, "ring 3: IN");
	tss.io_map = offsetof(struct tss64, io);
	memset(tss.io, 0xff, sizeof(tss.io));
	tss.io[0x80 / 8] = 0xfe;
	check_trap(attempt_user(user_in, NULL), USER_EXIT, 0, "ring 3: IN of a port in the map");
	tss.io_map = sizeof(tss);
	check_trap(attempt_user(user_rdtsc, NULL), USER_EXIT, 0, "ring 3: RDTSC");
	write_cr4(read_cr4() | CR4_TSD);
	check_trap(attempt_user(user_rdtsc, NULL), GP, 0, "ring 3: RDTSC with CR4.TSD");
	write_cr4(read_cr4() & ~CR4_TSD);
	check_trap(attempt_user(user_sgdt, NULL), USER_EXIT, 0, "ring 3: SGDT");
	if (cpuid(7, 0).ecx & BIT(2)) {
		write_cr4(read_cr4() | CR4_UMIP);
		check_trap(attempt_user(user_sgdt, NULL), GP, 0, "ring 3: SGDT with CR4.UMIP");
		write_cr4(read_cr4() & ~CR4_UMIP);
	} else {
		skip("UMIP", "not in CPUID");
	}
}

static void rdfsbase(void *unused)
{
	(void)unused;
	asm volatile("rdfsbase %%rax" ::: "rax");
}

static void wrfsbase_bad(void *unused)
{
	(void)unused;
	asm volatile("wrfsbase %0" ::"r"(0x800000000000));
}

static void segment_bases(void)
{
	u64 base;

	if (!(cpuid(7, 0).ebx & BIT(0))) {
		skip("FSGSBASE", "not in CPUID");
		return;
	}
	check_trap(attempt(rdfsbase, NULL), UD, 0, "RDFSBASE without CR4.FSGSBASE");
	write_cr4(read_cr4() | CR4_FSGS);
	asm volatile("wrfsbase %0" ::"r"(0xffff800000001234));
	asm volatile("rdfsbase %0" : "=r"(base));
	check_equal(base, 0xffff800000001234, "WRFSBASE and RDFSBASE");
	check_equal(rdmsr(MSR_FS_BASE), 0xffff800000001234, "the MSR is the same base");
	asm volatile("wrgsbase %k0; rdgsbase %0" : "=r"(base) : "0"(0xffffffff12345678));
	check_equal(base, 0x12345678, "a 32-bit operand");
	check_trap(attempt(wrfsbase_bad, NULL), GP, 0, "WRFSBASE: non-canonical");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
}

static void identification(void)
{
	struct cpuid basic = cpuid(0, 0), extended = cpuid(0x80000000, 0), features = cpuid(1, 0);
	u64 before, after;

	check(basic.eax >= 0xd && basic.eax < 0x100, "CPUID: basic leaves");
	check(extended.eax >= 0x80000008 && extended.eax < 0x80001000, "CPUID: extended leaves");
	check(features.ecx & BIT(31), "CPUID: there is a hypervisor");
	check_equal(features.ebx >> 24, 0, "CPUID: the initial APIC id");
	check(cpuid(0x80000001, 0).edx & BIT(29), "CPUID: long mode");
	check_equal(cpuid(0x80000008, 0).eax >> 8 & 0xff, 48, "CPUID: linear addresses");
	before = rdtsc();
	after = rdtsc();
	check(after >= before, "RDTSC does not go back");
	wrmsr(MSR_TSC, 0);
	check(rdtsc() < BIT(36), "the TSC can be written");
}

void payload(void)
{
	control_registers();
	model_specific_registers();
	privileges();
	segment_bases();
	identification();
}
