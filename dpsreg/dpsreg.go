// Package dpsreg brings an Azure Device Provisioning Service to the state that the
// configuration describes: which CAs it has verified, which enrollment groups stand
// on them, and which devices have an enrollment of their own.
//
// It is a reconciler. Plan reads and says what Apply would do; Apply does it,
// reading each thing again immediately before it is changed, so that a run that died
// anywhere is finished by the next one and a second run changes nothing. So does a
// Registrar with CAs and groups, and Devices with single devices: DPS knows no
// revocation and no certificates, only devices, so that what a device should have
// there is computed from all that the ledger says of it (wanted), and told whenever
// something of it changed.
package dpsreg
