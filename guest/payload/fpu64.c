/* When the FPU, SSE and XSAVE may be used: SDM 3A 2.5, 14.1 to 14.5, SDM 1 8.7, 13. */
#include "payload.h"

static u8 area[4096] __attribute__((aligned(64)));

static void x87(void *unused)
{
	(void)unused;
	asm volatile("fnop");
}

static void wait(void *unused)
{
	(void)unused;
	asm volatile("fwait");
}

static void mmx(void *unused)
{
	(void)unused;
	asm volatile("movd %eax, %mm0; emms");
}

static void sse(void *unused)
{
	(void)unused;
	asm volatile("xorps %xmm0, %xmm0");
}

static void fxsave(void *at)
{
	asm volatile("fxsave64 (%0)" ::"r"(at) : "memory");
}

static void fxrstor(void *at)
{
	asm volatile("fxrstor64 (%0)" ::"r"(at) : "memory");
}

static void set_cr0_bits(word bits)
{
	write_cr0((read_cr0() & ~(CR0_TS | CR0_EM | CR0_MP | CR0_NE)) | bits);
}

static void availability(void)
{
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMM);
	set_cr0_bits(CR0_NE | CR0_MP);
	asm volatile("fninit");
	check_trap(attempt(x87, NULL), NO_TRAP, 0, "x87");
	check_trap(attempt(sse, NULL), NO_TRAP, 0, "SSE");
	set_cr0_bits(CR0_NE | CR0_TS);
	check_trap(attempt(x87, NULL), NM, 0, "x87 with TS");
	check_trap(attempt(mmx, NULL), NM, 0, "MMX with TS");
	check_trap(attempt(sse, NULL), NM, 0, "SSE with TS");
	check_trap(attempt(fxsave, area), NM, 0, "FXSAVE with TS");
	check_trap(attempt(wait, NULL), NO_TRAP, 0, "FWAIT with TS, MP clear");
	set_cr0_bits(CR0_NE | CR0_TS | CR0_MP);
	check_trap(attempt(wait, NULL), NM, 0, "FWAIT with TS and MP");
	asm volatile("clts");
	check(!(read_cr0() & CR0_TS), "CLTS");
	set_cr0_bits(CR0_NE | CR0_EM);
	check_trap(attempt(x87, NULL), NM, 0, "x87 with EM");
	check_trap(attempt(mmx, NULL), UD, 0, "MMX with EM");
	check_trap(attempt(sse, NULL), UD, 0, "SSE with EM");
	check_trap(attempt(wait, NULL), NO_TRAP, 0, "FWAIT with EM");
	set_cr0_bits(CR0_NE | CR0_MP);
	write_cr4(read_cr4() & ~CR4_OSFXSR);
	check_trap(attempt(sse, NULL), UD, 0, "SSE without OSFXSR");
	check_trap(attempt(mmx, NULL), NO_TRAP, 0, "MMX without OSFXSR");
	write_cr4(read_cr4() | CR4_OSFXSR);
}

/* 1 / 0 with the exception unmasked; it is reported by the next waiting instruction. */
static void x87_divide(void *unused)
{
	u16 control = 0x37b;

	(void)unused;
	asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; x87_pending: fwait" ::"m"(control));
}

static void sse_divide(void *unused)
{
	static const u32 one[4] __attribute__((aligned(16))) = { 0x3f800000, 0, 0, 0 };
	u32 control = 0x1d80;

	(void)unused;
	asm volatile(
		"ldmxcsr %0; movaps %1, %%xmm0; xorps %%xmm1, %%xmm1; divss %%xmm1, %%xmm0" ::"m"(
			control),
		"m"(one));
}

static void set_mxcsr(void *value)
{
	u32 control = (u32)(word)value;

	asm volatile("ldmxcsr %0" ::"m"(control));
}

static void exceptions(void)
{
	extern char x87_pending[] asm("x87_pending");
	u32 mxcsr = 0x1f80, got;
	u16 status;

	check_trap(attempt(x87_divide, NULL), MF, 0, "an unmasked x87 exception");
	check_equal(last_trap.rip, (word)x87_pending, "at the next waiting instruction");
	asm volatile("fnstsw %0" : "=m"(status));
	check_equal(status & 0x84, 0x84, "FSW: ZE and ES");
	asm volatile("fnclex; fninit");
	check_trap(attempt(sse_divide, NULL), XM, 0, "an unmasked SSE exception");
	asm volatile("stmxcsr %0" : "=m"(got));
	check_equal(got & 0x3f, 4, "MXCSR.ZE");
	write_cr4(read_cr4() & ~CR4_OSXMM);
	check_trap(attempt(sse_divide, NULL), UD, 0, "the same without OSXMMEXCPT");
	write_cr4(read_cr4() | CR4_OSXMM);
	asm volatile("ldmxcsr %0" ::"m"(mxcsr));
	check_trap(attempt(set_mxcsr, (void *)0x10000), GP, 0, "MXCSR: a reserved bit");
}

static void saving(void)
{
	static const double pi = 3.141592653589793;
	u64 got;

	memset(area, 0, 512);
	asm volatile("fninit; fldl %0; movsd %0, %%xmm9" ::"m"(pi));
	fxsave(area);
	check_equal(*(u16 *)area, 0x37f, "FXSAVE: FCW");
	check_equal(area[4], 0x80, "FXSAVE: the abridged tag");
	check_equal(*(u64 *)(area + 32), 0xc90fdaa22168c000, "FXSAVE: ST0");
	check_equal(*(u64 *)(area + 160 + 9 * 16), 0x400921fb54442d18, "FXSAVE: XMM9");
	check_equal(*(u32 *)(area + 24), 0x1f80, "FXSAVE: MXCSR");
	asm volatile("fninit; xorps %xmm9, %xmm9");
	fxrstor(area);
	asm volatile("movq %%xmm9, %0" : "=r"(got));
	check_equal(got, 0x400921fb54442d18, "FXRSTOR: XMM9");
	check_trap(attempt(fxsave, area + 8), GP, 0, "FXSAVE: not aligned");
	*(u32 *)(area + 24) = 0x80000000;
	check_trap(attempt(fxrstor, area), GP, 0, "FXRSTOR: a reserved bit of MXCSR");
}

static void xgetbv(void *unused)
{
	(void)unused;
	asm volatile("xgetbv" ::"c"(0) : "eax", "edx");
}

static u64 get_xcr0(void)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}

static void xsetbv(void *value)
{
	asm volatile("xsetbv" ::"c"(0), "a"((u32)(word)value), "d"((u32)((word)value >> 32)));
}

static void xsetbv_1(void *unused)
{
	(void)unused;
	asm volatile("xsetbv" ::"c"(1), "a"(1), "d"(0));
}

static void xsave(void *at)
{
	asm volatile("xsave64 (%0)" ::"r"(at), "a"(7), "d"(0) : "memory");
}

static void xrstor(void *at)
{
	asm volatile("xrstor64 (%0)" ::"r"(at), "a"(7), "d"(0) : "memory");
}

static void avx(void *unused)
{
	(void)unused;
	asm volatile("vxorps %ymm1, %ymm1, %ymm1");
}

static void extended_states(void)
{
	static const u64 pattern[4] __attribute__((aligned(32))) = { 1, 2, 3, 4 };
	static u64 got[4] __attribute__((aligned(32)));
	struct cpuid features = cpuid(1, 0);
	u32 size;

	if (!(features.ecx & BIT(26))) {
		skip("XSAVE", "not in CPUID");
		return;
	}
	check(!(features.ecx & BIT(27)), "CPUID.OSXSAVE is clear at first");
	check_trap(attempt(xgetbv, NULL), UD, 0, "XGETBV without OSXSAVE");
	check_trap(attempt(xsave, area), UD, 0, "XSAVE without OSXSAVE");
	write_cr4(read_cr4() | CR4_XSAVE);
	check(cpuid(1, 0).ecx & BIT(27), "CPUID.OSXSAVE follows CR4");
	check_equal(get_xcr0(), 1, "XCR0 after reset");
	check_trap(attempt(xsetbv, (void *)2), GP, 0, "XSETBV: without x87");
	check_trap(attempt(xsetbv, (void *)5), GP, 0, "XSETBV: AVX without SSE");
	check_trap(attempt(xsetbv, (void *)BIT(62)), GP, 0, "XSETBV: a reserved bit");
	check_trap(attempt(xsetbv_1, NULL), GP, 0, "XSETBV: XCR1");
	check_trap(attempt(xsetbv, (void *)3), NO_TRAP, 0, "XSETBV: x87 and SSE");
	check_equal(cpuid(0xd, 0).ebx, 576, "CPUID: the area's size for them");
	if (!(features.ecx & BIT(28))) {
		skip("AVX", "not in CPUID");
		return;
	}
	check_trap(attempt(avx, NULL), UD, 0, "AVX without XCR0.AVX");
	check_trap(attempt(xsetbv, (void *)7), NO_TRAP, 0, "XSETBV: AVX");
	check_trap(attempt(avx, NULL), NO_TRAP, 0, "AVX");
	size = cpuid(0xd, 0).ebx;
	check_equal(size, 832, "CPUID: the area's size with AVX");
	check_equal(cpuid(0xd, 2).eax, 256, "CPUID: the size of AVX state");
	check_equal(cpuid(0xd, 2).ebx, 576, "CPUID: its offset");

	memset(area, 0, sizeof(area));
	asm volatile("vmovdqa %0, %%ymm5" ::"m"(pattern));
	xsave(area);
	check_equal(*(u64 *)(area + 512) & 4, 4, "XSAVE: XSTATE_BV has AVX");
	check_equal(*(u64 *)(area + 576 + 5 * 16), 3, "XSAVE: the upper half of YMM5");
	asm volatile("vzeroall");
	xrstor(area);
	asm volatile("vmovdqa %%ymm5, %0" : "=m"(got));
	check(memcmp(got, pattern, 32) == 0, "XRSTOR: YMM5");
	*(u64 *)(area + 512) = 3;
	xrstor(area);
	asm volatile("vmovdqa %%ymm5, %0" : "=m"(got));
	check(got[0] == 1 && got[2] == 0, "XRSTOR: initial state where XSTATE_BV is clear");
	*(u64 *)(area + 512) = BIT(40) | 7;
	check_trap(attempt(xrstor, area), GP, 0, "XRSTOR: a reserved bit of XSTATE_BV");
	*(u64 *)(area + 512) = 7;
	*(u64 *)(area + 520 + 8) = 1;
	check_trap(attempt(xrstor, area), GP, 0, "XRSTOR: a reserved byte of the header");
	check_trap(attempt(xsave, area + 16), GP, 0, "XSAVE: not aligned");
	write_cr0(read_cr0() | CR0_TS);
	check_trap(attempt(avx, NULL), NM, 0, "AVX with TS");
	check_trap(attempt(xsave, area), NM, 0, "XSAVE with TS");
	asm volatile("clts");
}

void payload(void)
{
	availability();
	exceptions();
	saving();
	extended_states();
}
