package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// folderMode lets the console's group write and keeps it from removing or replacing root's files (70-traps).
const folderMode = 0o770 | fs.ModeSticky

// prepare makes the folder and the database's three files before SQLite opens them. Root makes them its own: a link that
// somebody planted would lead root's writes elsewhere, and a file of somebody else in a sticky folder cannot be opened by root with O_CREAT
// where fs.protected_regular is 2.
func prepare(dir, name string, gid int, mode fs.FileMode) error {
	if err := prepareFolder(dir, gid); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the state folder: %w", err)
	}
	group := gid
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && group == 0 {
		group = int(stat.Gid)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := prepareFile(filepath.Join(dir, name+suffix), group, mode); err != nil {
			return err
		}
	}
	return nil
}

func prepareFolder(dir string, gid int) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	if os.Geteuid() != 0 || gid == 0 {
		return nil
	}
	if err := os.Chown(dir, 0, gid); err != nil {
		return fmt.Errorf("give the state folder to root and group %d: %w", gid, err)
	}
	if err := os.Chmod(dir, folderMode); err != nil {
		return fmt.Errorf("set the mode of the state folder: %w", err)
	}
	return nil
}

// prepareFile makes an empty file if there is none (SQLite takes an empty one as new). What is there must be a plain file.
func prepareFile(path string, gid int, mode fs.FileMode) error {
	root := os.Geteuid() == 0
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err == nil {
		file.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		kind := map[fs.FileMode]string{fs.ModeDir: "a folder", fs.ModeSymlink: "a link"}[info.Mode().Type()]
		return fmt.Errorf("%s is %s and not a plain file: somebody planted it, remove it", path, cmp.Or(kind, "something else"))
	}
	if !root {
		return nil
	}
	if err := os.Lchown(path, 0, gid); err != nil {
		return fmt.Errorf("give %s to root and group %d: %w", path, gid, err)
	}
	// Through the opened file, which is surely the one that was looked at: Chmod by name would follow a link.
	file, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer file.Close()
	return file.Chmod(mode)
}
