/*
 * The virtual machine generation identifier (src/board/generation.h): where its page is, and the event
 * that tells of a new one, which is that of src/board. The address is put in place of the marker.
 */
DefinitionBlock ("", "SSDT", 2, "ATOLL", "VMGENID", 0x00000001)
{
    Name (\VGIA, 0x56474941)
    Scope (\_SB)
    {
        Device (VGEN)
        {
            Name (_HID, "ATOL0001")
            Name (_CID, "VM_Gen_Counter")
            Name (_DDN, "VM_Gen_Counter")
            Method (_STA, 0, NotSerialized)
            {
                If ((VGIA == Zero))
                {
                    Return (Zero)
                }
                Return (0x0F)
            }

            Method (ADDR, 0, Serialized)
            {
                Local0 = Package (0x02) {}
                Local0 [Zero] = (VGIA + 0x28)
                Local0 [One] = Zero
                Return (Local0)
            }
        }
    }

    Method (\_GPE._E05, 0, NotSerialized)
    {
        Notify (\_SB.VGEN, 0x80)
    }
}
