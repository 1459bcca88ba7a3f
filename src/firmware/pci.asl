/*
 * The host bridge of src/pci on a board that has one: an SSDT beside the board's DSDT. Windows and
 * interrupts are those of src/board/micro.c, or with Q35 or I440FX those of that chipset on the board pc:
 * PIN0 is the IOAPIC's pin for PIRQ 0, TURN the PIRQ of INTA of device 0. The hotplug registers are
 * those of src/pci/pci_hotplug.c.
 */
#ifdef Q35
#define PC
#define PIN0 20
#define TURN 0
#else
#ifdef I440FX
#define PC
#define PIN0 16
#define TURN 3
#else
#define PIN0 16
#define TURN 0
#endif
#endif
#ifdef PC
#define HOTPLUG 0xAE00
#else
#define HOTPLUG 0x0620
#endif
DefinitionBlock ("", "SSDT", 2, "ATOLL", "PCI", 0x00000001)
{
    /* Which interrupt controller the system uses: 0 the 8259s, 1 the IOAPIC. */
    Name (\PICM, Zero)
    Method (\_PIC, 1)
    {
        PICM = Arg0
    }

    Scope (\_SB)
    {
        /* So that the system takes ECAM for what the MCFG says it is. */
        Device (ECAM)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, "ECAM")
#ifdef PC
            Name (RES, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000, BASE)
            })

            /* Firmware chooses the place. */
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (RES, ^BASE._BAS, ADDR)
                ADDR = \_SB.PCI0.ECMB
                Return (RES)
            }

            Method (_STA, 0)
            {
                If (\_SB.PCI0.ECMB)
                {
                    Return (0x0F)
                }
                Return (Zero)
            }
#else
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xFE000000, 0x00100000)
            })
#endif
        }

#ifdef Q35
        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
            })
        }
#endif

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_SEG, Zero)
            Name (_BBN, Zero)
            Name (_UID, Zero)

            OperationRegion (HPR, SystemIO, HOTPLUG, 0x28)
            Field (HPR, DWordAcc, NoLock, WriteAsZeros)
            {
                HPUP, 32,
                HPDN, 32,
                HPEJ, 32,
                , 32,
                W64B, 32,
                W64H, 32,
                W64S, 32,
                W64T, 32,
                W32B, 32,
                ECMB, 32
            }

            Name (RES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x1000, 0xFFFF, 0x0000, 0xF000)
#ifdef PC
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000, , , LOWM)
#else
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFDFFFFFF, 0x00000000, 0x3E000000)
#endif
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Prefetchable, ReadWrite,
                    0x0000000000000000, 0x0000000800000000, 0x0000000FFFFFFFFF,
                    0x0000000000000000, 0x0000000800000000, , , HIGH)
            })

            /* The window above 4 GiB begins where memory ends. */
            Method (_CRS, 0, Serialized)
            {
                CreateQWordField (RES, ^HIGH._MIN, LOW)
                CreateQWordField (RES, ^HIGH._MAX, TOP)
                CreateQWordField (RES, ^HIGH._LEN, LEN)
                LOW = (W64H << 32) | W64B
                LEN = (W64T << 32) | W64S
                TOP = LOW + LEN - One
#ifdef PC
                /* Behind ECAM, wherever firmware put that. */
                CreateDWordField (RES, ^LOWM._MIN, MIN)
                CreateDWordField (RES, ^LOWM._LEN, SIZE)
                MIN = W32B
                If (ECMB)
                {
                    MIN = ECMB + 0x10000000
                }
                SIZE = 0xFEC00000 - MIN
#endif
                Return (RES)
            }

            /* The system gets everything but hotplug, which is ours; PCI Firmware 3.2, 4.5.1. */
            Method (_OSC, 4)
            {
                CreateDWordField (Arg3, Zero, STAT)
                If (Arg0 != ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
                {
                    STAT |= 0x04
                    Return (Arg3)
                }
                If (Arg1 != One)
                {
                    STAT |= 0x08
                    Return (Arg3)
                }
                CreateDWordField (Arg3, 8, CTRL)
                Local0 = CTRL & 0x1C
                If (Local0 != CTRL)
                {
                    STAT |= 0x10
                }
                CTRL = Local0
                Return (Arg3)
            }

            /* Pin p of device n is PIRQ (TURN + n + p) % 4: a pin of the IOAPIC from PIN0 on, or 10 or
             * 11 of the 8259s. */
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                For (Local1 = Zero, Local1 < 128, Local1++)
                {
                    Local2 = Package (4) { Zero, Zero, Zero, Zero }
                    Local2[0] = ((Local1 >> 2) << 16) | 0xFFFF
                    Local2[1] = Local1 & 3
                    Local3 = ((Local1 >> 2) + Local1 + TURN) & 3
                    If (PICM)
                    {
                        Local2[3] = PIN0 + Local3
                    }
                    Else
                    {
#ifdef PC
                        Local2[3] = 10 + (Local3 >> 1)
#else
                        Local2[3] = 10 + (Local3 & 1)
#endif
                    }
                    Local0[Local1] = Local2
                }
                Return (Local0)
            }

            /* A device in a slot can be ejected. */
            Method (EJCT, 1) { HPEJ = One << Arg0 }
            Device (S01) { Name (_ADR, 0x00010000) Name (_SUN, 1) Method (_EJ0, 1) { EJCT (1) } }
            Device (S02) { Name (_ADR, 0x00020000) Name (_SUN, 2) Method (_EJ0, 1) { EJCT (2) } }
            Device (S03) { Name (_ADR, 0x00030000) Name (_SUN, 3) Method (_EJ0, 1) { EJCT (3) } }
            Device (S04) { Name (_ADR, 0x00040000) Name (_SUN, 4) Method (_EJ0, 1) { EJCT (4) } }
            Device (S05) { Name (_ADR, 0x00050000) Name (_SUN, 5) Method (_EJ0, 1) { EJCT (5) } }
            Device (S06) { Name (_ADR, 0x00060000) Name (_SUN, 6) Method (_EJ0, 1) { EJCT (6) } }
            Device (S07) { Name (_ADR, 0x00070000) Name (_SUN, 7) Method (_EJ0, 1) { EJCT (7) } }
            Device (S08) { Name (_ADR, 0x00080000) Name (_SUN, 8) Method (_EJ0, 1) { EJCT (8) } }
            Device (S09) { Name (_ADR, 0x00090000) Name (_SUN, 9) Method (_EJ0, 1) { EJCT (9) } }
            Device (S0A) { Name (_ADR, 0x000A0000) Name (_SUN, 10) Method (_EJ0, 1) { EJCT (10) } }
            Device (S0B) { Name (_ADR, 0x000B0000) Name (_SUN, 11) Method (_EJ0, 1) { EJCT (11) } }
            Device (S0C) { Name (_ADR, 0x000C0000) Name (_SUN, 12) Method (_EJ0, 1) { EJCT (12) } }
            Device (S0D) { Name (_ADR, 0x000D0000) Name (_SUN, 13) Method (_EJ0, 1) { EJCT (13) } }
            Device (S0E) { Name (_ADR, 0x000E0000) Name (_SUN, 14) Method (_EJ0, 1) { EJCT (14) } }
            Device (S0F) { Name (_ADR, 0x000F0000) Name (_SUN, 15) Method (_EJ0, 1) { EJCT (15) } }
            Device (S10) { Name (_ADR, 0x00100000) Name (_SUN, 16) Method (_EJ0, 1) { EJCT (16) } }
            Device (S11) { Name (_ADR, 0x00110000) Name (_SUN, 17) Method (_EJ0, 1) { EJCT (17) } }
            Device (S12) { Name (_ADR, 0x00120000) Name (_SUN, 18) Method (_EJ0, 1) { EJCT (18) } }
            Device (S13) { Name (_ADR, 0x00130000) Name (_SUN, 19) Method (_EJ0, 1) { EJCT (19) } }
            Device (S14) { Name (_ADR, 0x00140000) Name (_SUN, 20) Method (_EJ0, 1) { EJCT (20) } }
            Device (S15) { Name (_ADR, 0x00150000) Name (_SUN, 21) Method (_EJ0, 1) { EJCT (21) } }
            Device (S16) { Name (_ADR, 0x00160000) Name (_SUN, 22) Method (_EJ0, 1) { EJCT (22) } }
            Device (S17) { Name (_ADR, 0x00170000) Name (_SUN, 23) Method (_EJ0, 1) { EJCT (23) } }
            Device (S18) { Name (_ADR, 0x00180000) Name (_SUN, 24) Method (_EJ0, 1) { EJCT (24) } }
            Device (S19) { Name (_ADR, 0x00190000) Name (_SUN, 25) Method (_EJ0, 1) { EJCT (25) } }
            Device (S1A) { Name (_ADR, 0x001A0000) Name (_SUN, 26) Method (_EJ0, 1) { EJCT (26) } }
            Device (S1B) { Name (_ADR, 0x001B0000) Name (_SUN, 27) Method (_EJ0, 1) { EJCT (27) } }
            Device (S1C) { Name (_ADR, 0x001C0000) Name (_SUN, 28) Method (_EJ0, 1) { EJCT (28) } }
            Device (S1D) { Name (_ADR, 0x001D0000) Name (_SUN, 29) Method (_EJ0, 1) { EJCT (29) } }
            Device (S1E) { Name (_ADR, 0x001E0000) Name (_SUN, 30) Method (_EJ0, 1) { EJCT (30) } }
            Device (S1F) { Name (_ADR, 0x001F0000) Name (_SUN, 31) Method (_EJ0, 1) { EJCT (31) } }

            /* Tells the system of the devices in Arg0: 1 look for them, 3 give them up. */
            Method (TELL, 2)
            {
                If (Arg0 & 0x00000002) { Notify (S01, Arg1) }
                If (Arg0 & 0x00000004) { Notify (S02, Arg1) }
                If (Arg0 & 0x00000008) { Notify (S03, Arg1) }
                If (Arg0 & 0x00000010) { Notify (S04, Arg1) }
                If (Arg0 & 0x00000020) { Notify (S05, Arg1) }
                If (Arg0 & 0x00000040) { Notify (S06, Arg1) }
                If (Arg0 & 0x00000080) { Notify (S07, Arg1) }
                If (Arg0 & 0x00000100) { Notify (S08, Arg1) }
                If (Arg0 & 0x00000200) { Notify (S09, Arg1) }
                If (Arg0 & 0x00000400) { Notify (S0A, Arg1) }
                If (Arg0 & 0x00000800) { Notify (S0B, Arg1) }
                If (Arg0 & 0x00001000) { Notify (S0C, Arg1) }
                If (Arg0 & 0x00002000) { Notify (S0D, Arg1) }
                If (Arg0 & 0x00004000) { Notify (S0E, Arg1) }
                If (Arg0 & 0x00008000) { Notify (S0F, Arg1) }
                If (Arg0 & 0x00010000) { Notify (S10, Arg1) }
                If (Arg0 & 0x00020000) { Notify (S11, Arg1) }
                If (Arg0 & 0x00040000) { Notify (S12, Arg1) }
                If (Arg0 & 0x00080000) { Notify (S13, Arg1) }
                If (Arg0 & 0x00100000) { Notify (S14, Arg1) }
                If (Arg0 & 0x00200000) { Notify (S15, Arg1) }
                If (Arg0 & 0x00400000) { Notify (S16, Arg1) }
                If (Arg0 & 0x00800000) { Notify (S17, Arg1) }
                If (Arg0 & 0x01000000) { Notify (S18, Arg1) }
                If (Arg0 & 0x02000000) { Notify (S19, Arg1) }
                If (Arg0 & 0x04000000) { Notify (S1A, Arg1) }
                If (Arg0 & 0x08000000) { Notify (S1B, Arg1) }
                If (Arg0 & 0x10000000) { Notify (S1C, Arg1) }
                If (Arg0 & 0x20000000) { Notify (S1D, Arg1) }
                If (Arg0 & 0x40000000) { Notify (S1E, Arg1) }
                If (Arg0 & 0x80000000) { Notify (S1F, Arg1) }
            }

            Method (LOOK, 0, Serialized)
            {
                Local0 = HPUP
                HPUP = Local0
                TELL (Local0, 1)
                Local0 = HPDN
                HPDN = Local0
                TELL (Local0, 3)
            }
        }
    }

    /* The board's general-purpose event 1. */
    Method (\_GPE._E01, 0)
    {
        \_SB.PCI0.LOOK ()
    }
}
