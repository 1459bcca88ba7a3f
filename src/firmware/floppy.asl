/*
 * The floppy disk controller, by DRIVES with one drive or two. The numbers are those of src/board/at.h and
 * pc_floppy.c.
 */
DefinitionBlock ("", "SSDT", 2, "ATOLL", "FLOPPY", 0x00000001)
{
    Scope (\_SB)
    {
        Device (FDC0)
        {
            Name (_HID, EisaId ("PNP0700"))
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F2, 0x03F2, 0x00, 0x04)
                IO (Decode16, 0x03F7, 0x03F7, 0x00, 0x01)
                IRQNoFlags () { 6 }
                DMA (Compatibility, NotBusMaster, Transfer8) { 2 }
            })

            /* Which of four drives are there, and no tape drive. */
            Name (_FDE, Buffer (0x14)
            {
                0x01, 0x00, 0x00, 0x00,
#if DRIVES == 2
                0x01, 0x00, 0x00, 0x00,
#else
                0x00, 0x00, 0x00, 0x00,
#endif
                0x00, 0x00, 0x00, 0x00,
                0x00, 0x00, 0x00, 0x00,
                0x02, 0x00, 0x00, 0x00
            })
        }
    }
}
