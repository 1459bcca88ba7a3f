/*
 * Registers of PCI configuration space: the type 0 header (PCI 3.0, 6.1), and the capabilities for
 * MSI (6.8.1), MSI-X (6.8.2) and PCI Express (PCI Express Base 4.0, 7.5.3).
 */
#ifndef PCI_PCI_REGS_H
#define PCI_PCI_REGS_H

#include "base/bits.h"

#define PCI_CONFIG_SIZE          256
#define PCI_CONFIG_EXTENDED_SIZE 4096

#define PCI_VENDOR_ID            0x00
#define PCI_DEVICE_ID            0x02
#define PCI_COMMAND              0x04
#define PCI_STATUS               0x06
#define PCI_REVISION_ID          0x08
#define PCI_CLASS_CODE           0x09
#define PCI_CACHE_LINE_SIZE      0x0c
#define PCI_LATENCY_TIMER        0x0d
#define PCI_HEADER_TYPE          0x0e
#define PCI_HEADER_MULTIFUNCTION BIT(7) /* of the header type */

#define PCI_BAR0                0x10
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID        0x2e
#define PCI_EXPANSION_ROM       0x30
#define PCI_CAPABILITIES        0x34
#define PCI_INTERRUPT_LINE      0x3c
#define PCI_INTERRUPT_PIN       0x3d
#define PCI_HEADER_END          0x40 /* capabilities may start here */

#define PCI_COMMAND_IO           BIT(0)
#define PCI_COMMAND_MEMORY       BIT(1)
#define PCI_COMMAND_MASTER       BIT(2)
#define PCI_COMMAND_PARITY       BIT(6)
#define PCI_COMMAND_SERR         BIT(8)
#define PCI_COMMAND_INTX_DISABLE BIT(10)
#define PCI_COMMAND_WRITABLE                                                                       \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
		PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

#define PCI_STATUS_INTERRUPT    BIT(3)
#define PCI_STATUS_CAPABILITIES BIT(4)

#define PCI_ROM_ENABLE BIT(0) /* of the expansion ROM's register */

#define PCI_BAR_IO_SPACE     BIT(0)
#define PCI_BAR_64BIT        BIT(2)
#define PCI_BAR_PREFETCHABLE BIT(3)

#define PCI_CAP_MSI     0x05
#define PCI_CAP_VENDOR  0x09
#define PCI_CAP_EXPRESS 0x10
#define PCI_CAP_MSIX    0x11

/* MSI, offsets from its capability; 64-bit with mask bits. */
#define PCI_MSI_CONTROL 0x02
#define PCI_MSI_ADDRESS 0x04
#define PCI_MSI_UPPER   0x08
#define PCI_MSI_DATA    0x0c
#define PCI_MSI_MASK    0x10
#define PCI_MSI_PENDING 0x14
#define PCI_MSI_SIZE    0x18

#define PCI_MSI_CONTROL_ENABLE   BIT(0)
#define PCI_MSI_CONTROL_CAPABLE  BITS(3, 1) /* log2 of the vectors there are */
#define PCI_MSI_CONTROL_ENABLED  BITS(6, 4) /* log2 of the vectors in use */
#define PCI_MSI_CONTROL_64BIT    BIT(7)
#define PCI_MSI_CONTROL_MASKABLE BIT(8)

/* MSI-X, offsets from its capability. */
#define PCI_MSIX_CONTROL 0x02
#define PCI_MSIX_TABLE   0x04
#define PCI_MSIX_PBA     0x08
#define PCI_MSIX_SIZE    0x0c

#define PCI_MSIX_CONTROL_LAST   BITS(10, 0) /* vectors minus one */
#define PCI_MSIX_CONTROL_MASKED BIT(14)
#define PCI_MSIX_CONTROL_ENABLE BIT(15)
#define PCI_MSIX_BAR            BITS(2, 0)

#define PCI_MSIX_ENTRY_SIZE   16
#define PCI_MSIX_ENTRY_MASKED BIT(0)

/* PCI Express, offsets from its capability, version 2. */
#define PCI_EXPRESS_FLAGS          0x02
#define PCI_EXPRESS_DEVICE_CAPS    0x04
#define PCI_EXPRESS_DEVICE_CONTROL 0x08
#define PCI_EXPRESS_DEVICE_STATUS  0x0a
#define PCI_EXPRESS_SIZE           0x3c

#define PCI_EXPRESS_VERSION             BITS(3, 0)
#define PCI_EXPRESS_TYPE                BITS(7, 4)
#define PCI_EXPRESS_INTEGRATED_ENDPOINT 9
#define PCI_EXPRESS_CAPS_ROLE_BASED     BIT(15)
#define PCI_EXPRESS_CAPS_FLR            BIT(28)
#define PCI_EXPRESS_CONTROL_FLR         BIT(15) /* reads as 0 */
#define PCI_EXPRESS_CONTROL_WRITABLE    BITS(14, 0)

#endif
