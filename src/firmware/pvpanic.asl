/*
 * pvpanic (src/chip/pvpanic.h), under the name by which drivers know it. The port is that of src/board/at.h.
 */
DefinitionBlock ("", "SSDT", 2, "ATOLL", "PVPANIC", 0x00000001)
{
    Scope (\_SB)
    {
        Device (PEVT)
        {
            Name (_HID, "QEMU0001")
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0505, 0x0505, 0x01, 0x01)
            })
            OperationRegion (PEOR, SystemIO, 0x0505, One)
            Field (PEOR, ByteAcc, NoLock, Preserve)
            {
                PEPT, 8
            }

            Method (RDPT, 0, NotSerialized)
            {
                Return (PEPT)
            }

            Method (WRPT, 1, NotSerialized)
            {
                PEPT = Arg0
            }
        }
    }
}
