/*
 * Registers of the Intel 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual, 317453; chapters 3 and 13), and of its PHY (82540's internal M88E1011).
 */
#ifndef NIC_E1000_REGS_H
#define NIC_E1000_REGS_H

#include "base/bits.h"

#define E1000_MMIO_SIZE 0x20000
#define E1000_PORT_SIZE 64

/* Ports (13.1.1.1). */
#define E1000_IOADDR 0
#define E1000_IODATA 4

/* name, offset, bits that software may write, value after reset. Ascending offsets. */
#define E1000_REGISTERS(R)                                                                         \
	R(CTRL, 0x0000, 0xfbfc3fff, 0x00000a01)                                                    \
	R(STATUS, 0x0008, 0, 0x00000083)                                                           \
	R(EECD, 0x0010, 0x00000077, 0x00000110)                                                    \
	R(EERD, 0x0014, 0xffffffff, 0)                                                             \
	R(CTRL_EXT, 0x0018, 0x00c1ffff, 0)                                                         \
	R(MDIC, 0x0020, 0xffffffff, BIT(28))                                                       \
	R(FCAL, 0x0028, 0xffffffff, 0x00c28001)                                                    \
	R(FCAH, 0x002c, 0x0000ffff, 0x00000100)                                                    \
	R(FCT, 0x0030, 0x0000ffff, 0x00008808)                                                     \
	R(VET, 0x0038, 0x0000ffff, 0x00008100)                                                     \
	R(ICR, 0x00c0, 0, 0)                                                                       \
	R(ITR, 0x00c4, 0x0000ffff, 0)                                                              \
	R(ICS, 0x00c8, 0, 0)                                                                       \
	R(IMS, 0x00d0, 0, 0)                                                                       \
	R(IMC, 0x00d8, 0, 0)                                                                       \
	R(RCTL, 0x0100, 0x07fffffe, 0)                                                             \
	R(FCTTV, 0x0170, 0x0000ffff, 0)                                                            \
	R(TXCW, 0x0178, 0xc000ffff, 0)                                                             \
	R(RXCW, 0x0180, 0, 0)                                                                      \
	R(TCTL, 0x0400, 0x07fffffa, 0)                                                             \
	R(TIPG, 0x0410, 0x3fffffff, 0x00602008)                                                    \
	R(AIT, 0x0458, 0x0000ffff, 0)                                                              \
	R(LEDCTL, 0x0e00, 0xcfcfcfcf, 0x07061302)                                                  \
	R(PBA, 0x1000, 0x0000ffff, 0x00100030)                                                     \
	R(FCRTL, 0x2160, 0x8000fff8, 0)                                                            \
	R(FCRTH, 0x2168, 0x0000fff8, 0)                                                            \
	R(RDFH, 0x2410, 0x00001fff, 0)                                                             \
	R(RDFT, 0x2418, 0x00001fff, 0)                                                             \
	R(RDFHS, 0x2420, 0x00001fff, 0)                                                            \
	R(RDFTS, 0x2428, 0x00001fff, 0)                                                            \
	R(RDFPC, 0x2430, 0x00001fff, 0)                                                            \
	R(RDBAL, 0x2800, 0xfffffff0, 0)                                                            \
	R(RDBAH, 0x2804, 0xffffffff, 0)                                                            \
	R(RDLEN, 0x2808, 0x000fff80, 0)                                                            \
	R(RDH, 0x2810, 0x0000ffff, 0)                                                              \
	R(RDT, 0x2818, 0x0000ffff, 0)                                                              \
	R(RDTR, 0x2820, 0x0000ffff, 0)                                                             \
	R(RXDCTL, 0x2828, 0x01ffffff, 0)                                                           \
	R(RADV, 0x282c, 0x0000ffff, 0)                                                             \
	R(RSRPD, 0x2c00, 0x00000fff, 0)                                                            \
	R(TXDMAC, 0x3000, 0x00000001, 0)                                                           \
	R(TDFH, 0x3410, 0x00001fff, 0)                                                             \
	R(TDFT, 0x3418, 0x00001fff, 0)                                                             \
	R(TDFHS, 0x3420, 0x00001fff, 0)                                                            \
	R(TDFTS, 0x3428, 0x00001fff, 0)                                                            \
	R(TDFPC, 0x3430, 0x00001fff, 0)                                                            \
	R(TDBAL, 0x3800, 0xfffffff0, 0)                                                            \
	R(TDBAH, 0x3804, 0xffffffff, 0)                                                            \
	R(TDLEN, 0x3808, 0x000fff80, 0)                                                            \
	R(TDH, 0x3810, 0x0000ffff, 0)                                                              \
	R(TDT, 0x3818, 0x0000ffff, 0)                                                              \
	R(TIDV, 0x3820, 0x0000ffff, 0)                                                             \
	R(TXDCTL, 0x3828, 0xffffffff, 0)                                                           \
	R(TADV, 0x382c, 0x0000ffff, 0)                                                             \
	R(TSPMT, 0x3830, 0xffffffff, 0x01000400)                                                   \
	R(RXCSUM, 0x5000, 0x000007ff, 0)                                                           \
	R(WUC, 0x5800, 0x0000000f, 0)                                                              \
	R(WUFC, 0x5808, 0x000f80ff, 0)                                                             \
	R(WUS, 0x5810, 0, 0)                                                                       \
	R(MANC, 0x5820, 0xffffffff, 0)                                                             \
	R(IPAV, 0x5838, 0x0001000f, 0)

#define E1000_REGISTER_ENUM(name, offset, writable, reset) E1000_##name,
enum e1000_register { E1000_REGISTERS(E1000_REGISTER_ENUM) E1000_NR_REGISTERS };

/* Arrays of doublewords. */
#define E1000_STATISTICS    0x4000
#define E1000_NR_STATISTICS 64
#define E1000_MTA           0x5200
#define E1000_NR_MTA        128
#define E1000_RA            0x5400
#define E1000_NR_RA         16 /* pairs: low, high */
#define E1000_VFTA          0x5600
#define E1000_NR_VFTA       128

#define E1000_CTRL_FD      BIT(0)
#define E1000_CTRL_SLU     BIT(6)
#define E1000_CTRL_RST     BIT(26)
#define E1000_CTRL_VME     BIT(30)
#define E1000_CTRL_PHY_RST BIT(31)
#define E1000_STATUS_LU    BIT(1)
#define E1000_STATUS_1000  BIT(7)

#define E1000_EECD_SK   BIT(0)
#define E1000_EECD_CS   BIT(1)
#define E1000_EECD_DI   BIT(2)
#define E1000_EECD_DO   BIT(3)
#define E1000_EECD_REQ  BIT(6)
#define E1000_EECD_GNT  BIT(7)
#define E1000_EECD_PRES BIT(8)

#define E1000_EERD_START   BIT(0)
#define E1000_EERD_DONE    BIT(4)
#define E1000_EERD_ADDRESS BITS(15, 8)
#define E1000_EERD_DATA    BITS(31, 16)

#define E1000_MDIC_DATA      BITS(15, 0)
#define E1000_MDIC_REGISTER  BITS(20, 16)
#define E1000_MDIC_PHY       BITS(25, 21)
#define E1000_MDIC_OP        BITS(27, 26)
#define E1000_MDIC_OP_WRITE  1
#define E1000_MDIC_OP_READ   2
#define E1000_MDIC_READY     BIT(28)
#define E1000_MDIC_INTERRUPT BIT(29)
#define E1000_MDIC_ERROR     BIT(30)
#define E1000_PHY_ADDRESS    1

/* Interrupt causes (13.4.17). */
#define E1000_ICR_TXDW   BIT(0)
#define E1000_ICR_TXQE   BIT(1)
#define E1000_ICR_LSC    BIT(2)
#define E1000_ICR_RXDMT0 BIT(4)
#define E1000_ICR_RXO    BIT(6)
#define E1000_ICR_RXT0   BIT(7)
#define E1000_ICR_MDAC   BIT(9)
#define E1000_ICR_TXDLOW BIT(15)
#define E1000_ICR_SRPD   BIT(16)
#define E1000_ICR_ALL    0x0001ffff

#define E1000_ITR_UNIT_NS 256

#define E1000_RCTL_EN    BIT(1)
#define E1000_RCTL_UPE   BIT(3)
#define E1000_RCTL_MPE   BIT(4)
#define E1000_RCTL_LPE   BIT(5)
#define E1000_RCTL_LBM   BITS(7, 6)
#define E1000_RCTL_RDMTS BITS(9, 8)
#define E1000_RCTL_MO    BITS(13, 12)
#define E1000_RCTL_BAM   BIT(15)
#define E1000_RCTL_BSIZE BITS(17, 16)
#define E1000_RCTL_VFE   BIT(18)
#define E1000_RCTL_CFIEN BIT(19)
#define E1000_RCTL_CFI   BIT(20)
#define E1000_RCTL_BSEX  BIT(25)
#define E1000_RCTL_SECRC BIT(26)

#define E1000_TCTL_EN  BIT(1)
#define E1000_TCTL_PSP BIT(3)

#define E1000_RXCSUM_PCSS  BITS(7, 0)
#define E1000_RXCSUM_IPOFL BIT(8)
#define E1000_RXCSUM_TUOFL BIT(9)

#define E1000_RAH_SELECT BITS(17, 16) /* 0: destination address */
#define E1000_RAH_VALID  BIT(31)

/* Descriptors are 16 bytes. Received (3.2.3). */
#define E1000_DESCRIPTOR_BYTES 16
#define E1000_RX_STATUS_AT     12 /* status, errors, special */
#define E1000_RX_DD            BIT(0)
#define E1000_RX_EOP           BIT(1)
#define E1000_RX_IXSM          BIT(2)
#define E1000_RX_VP            BIT(3)
#define E1000_RX_TCPCS         BIT(5)
#define E1000_RX_IPCS          BIT(6)
#define E1000_RX_PIF           BIT(7)
#define E1000_RX_ERROR_TCPE    BIT(5)
#define E1000_RX_ERROR_IPE     BIT(6)

/* To be sent (3.3.3 legacy, 3.3.6 context, 3.3.7 data): bits of the third doubleword. */
#define E1000_TX_LENGTH       BITS(15, 0) /* legacy */
#define E1000_TX_CSO          BITS(23, 16)
#define E1000_TX_DATA_LENGTH  BITS(19, 0) /* data; a context's payload length */
#define E1000_TX_TYPE         BITS(23, 20)
#define E1000_TX_TYPE_CONTEXT 0
#define E1000_TX_TYPE_DATA    1
#define E1000_TX_EOP          BIT(24)
#define E1000_TX_IC           BIT(26) /* legacy: insert a checksum */
#define E1000_TX_TSE          BIT(26)
#define E1000_TX_RS           BIT(27)
#define E1000_TX_DEXT         BIT(29)
#define E1000_TX_VLE          BIT(30)
#define E1000_TX_CONTEXT_TCP  BIT(24)
#define E1000_TX_CONTEXT_IPV4 BIT(25)
/* ... and of the fourth. */
#define E1000_TX_DD      BIT(0)
#define E1000_TX_CSS     BITS(15, 8) /* legacy */
#define E1000_TX_IXSM    BIT(8)      /* data */
#define E1000_TX_TXSM    BIT(9)
#define E1000_TX_SPECIAL BITS(31, 16)
#define E1000_TX_HDRLEN  BITS(15, 8) /* context */
#define E1000_TX_MSS     BITS(31, 16)

/* Statistics, by their offset (13.7). */
#define E1000_MPC    0x4010
#define E1000_PRC64  0x405c
#define E1000_GPRC   0x4074
#define E1000_BPRC   0x4078
#define E1000_MPRC   0x407c
#define E1000_GPTC   0x4080
#define E1000_GORCL  0x4088
#define E1000_GOTCL  0x4090
#define E1000_RNBC   0x40a0
#define E1000_ROC    0x40ac
#define E1000_TORL   0x40c0
#define E1000_TOTL   0x40c8
#define E1000_TPR    0x40d0
#define E1000_TPT    0x40d4
#define E1000_PTC64  0x40d8
#define E1000_MPTC   0x40f0
#define E1000_BPTC   0x40f4
#define E1000_TSCTC  0x40f8
#define E1000_TSCTFC 0x40fc

/* The PHY (13.5). */
#define E1000_PHY_CONTROL   0
#define E1000_PHY_STATUS    1
#define E1000_PHY_REGISTERS 32

#define E1000_PHY_CONTROL_RESTART  BIT(9)
#define E1000_PHY_CONTROL_LOOPBACK BIT(14)
#define E1000_PHY_CONTROL_RESET    BIT(15)

#define E1000_EEPROM_WORDS        64
#define E1000_EEPROM_CHECKSUM_AT  63
#define E1000_EEPROM_CHECKSUM     0xbaba
#define E1000_EEPROM_ADDRESS_BITS 6

#endif
