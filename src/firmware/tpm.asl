/*
 * A TPM 2.0 with a command response buffer (src/tpm). The address is that of src/board/at.h.
 */
DefinitionBlock ("", "SSDT", 2, "ATOLL", "TPM", 0x00000001)
{
    Scope (\_SB)
    {
        Device (TPM)
        {
            Name (_HID, "MSFT0101")
            Name (_STR, Unicode ("TPM 2.0 Device"))
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xFED40000, 0x00001000)
            })
        }
    }
}
