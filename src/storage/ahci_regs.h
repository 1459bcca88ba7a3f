/*
 * Registers and structures of an AHCI controller (AHCI 1.3.1), and the FIS that it exchanges with
 * devices (SATA 3.0, 10.3).
 */
#ifndef STORAGE_AHCI_REGS_H
#define STORAGE_AHCI_REGS_H

#include "base/bits.h"

/* Generic host control (3.1). */
#define AHCI_CAP  0x00
#define AHCI_GHC  0x04
#define AHCI_IS   0x08
#define AHCI_PI   0x0c
#define AHCI_VS   0x10
#define AHCI_CAP2 0x24
#define AHCI_BOHC 0x28

#define AHCI_CAP_NP   BITS(4, 0)
#define AHCI_CAP_NCS  BITS(12, 8)
#define AHCI_CAP_SAM  BIT(18) /* no legacy interface */
#define AHCI_CAP_ISS  BITS(23, 20)
#define AHCI_CAP_SCLO BIT(24)
#define AHCI_CAP_SNCQ BIT(30)
#define AHCI_CAP_S64A BIT(31)

#define AHCI_GHC_HR BIT(0)
#define AHCI_GHC_IE BIT(1)
#define AHCI_GHC_AE BIT(31)

/* Ports (3.3). */
#define AHCI_PORTS      0x100
#define AHCI_PORT_BYTES 0x80
#define AHCI_PXCLB      0x00
#define AHCI_PXCLBU     0x04
#define AHCI_PXFB       0x08
#define AHCI_PXFBU      0x0c
#define AHCI_PXIS       0x10
#define AHCI_PXIE       0x14
#define AHCI_PXCMD      0x18
#define AHCI_PXTFD      0x20
#define AHCI_PXSIG      0x24
#define AHCI_PXSSTS     0x28
#define AHCI_PXSCTL     0x2c
#define AHCI_PXSERR     0x30
#define AHCI_PXSACT     0x34
#define AHCI_PXCI       0x38
#define AHCI_PXSNTF     0x3c

#define AHCI_PXIS_DHRS BIT(0)
#define AHCI_PXIS_PSS  BIT(1)
#define AHCI_PXIS_SDBS BIT(3)
#define AHCI_PXIS_UFS  BIT(4)
#define AHCI_PXIS_DPS  BIT(5)
#define AHCI_PXIS_PCS  BIT(6)
#define AHCI_PXIS_PRCS BIT(22)
#define AHCI_PXIS_OFS  BIT(24)
#define AHCI_PXIS_HBDS BIT(28)
#define AHCI_PXIS_HBFS BIT(29)
#define AHCI_PXIS_TFES BIT(30)
#define AHCI_PXIE_ALL  UINT32_C(0xfdc000ff)

#define AHCI_PXCMD_ST       BIT(0)
#define AHCI_PXCMD_SUD      BIT(1)
#define AHCI_PXCMD_POD      BIT(2)
#define AHCI_PXCMD_CLO      BIT(3)
#define AHCI_PXCMD_FRE      BIT(4)
#define AHCI_PXCMD_CCS      BITS(12, 8)
#define AHCI_PXCMD_FR       BIT(14)
#define AHCI_PXCMD_CR       BIT(15)
#define AHCI_PXCMD_ATAPI    BIT(24)
#define AHCI_PXCMD_WRITABLE (AHCI_PXCMD_ST | AHCI_PXCMD_FRE | AHCI_PXCMD_ATAPI)

#define AHCI_PXSCTL_DET      BITS(3, 0)
#define AHCI_PXSCTL_WRITABLE UINT32_C(0x00000fff)
#define AHCI_PXSSTS_UP       0x133 /* device, 6 Gb/s, active */
#define AHCI_PXSERR_X        BIT(26)

#define AHCI_SIGNATURE_DISK   UINT32_C(0x00000101)
#define AHCI_SIGNATURE_PACKET UINT32_C(0xeb140101)
#define AHCI_SIGNATURE_NONE   UINT32_C(0xffffffff)

/* A command header (4.2.2). */
#define AHCI_HEADER_BYTES 32
#define AHCI_HEADER_CFL   BITS(4, 0)
#define AHCI_HEADER_A     BIT(5)
#define AHCI_HEADER_W     BIT(6)
#define AHCI_HEADER_R     BIT(8)
#define AHCI_HEADER_C     BIT(10)
#define AHCI_HEADER_PRDTL BITS(31, 16)

/* A command table (4.2.3). */
#define AHCI_TABLE_ACMD 0x40
#define AHCI_TABLE_PRDT 0x80
#define AHCI_PRD_BYTES  16
#define AHCI_PRD_DBC    BITS(21, 0)
#define AHCI_PRD_I      BIT(31)

/* Received FIS (4.2.1): where each kind goes. */
#define AHCI_RFIS_PIO_SETUP 0x20
#define AHCI_RFIS_D2H       0x40
#define AHCI_RFIS_SDB       0x58

#define FIS_H2D       0x27
#define FIS_D2H       0x34
#define FIS_SDB       0xa1
#define FIS_PIO_SETUP 0x5f

#endif
