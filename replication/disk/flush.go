//go:build !evenkeel_noflush

package disk

// noFlush is true only in the build with the tag evenkeel_noflush, which exists so that the proof of durability can fail.
const noFlush = false
