package transfer

import (
	"io/fs"
	"os"
)

// Folders opens a folder in each way that there is to read one.
func Folders(name string) (map[string]fs.FS, error) {
	beneath, err := openBeneath(name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	return map[string]fs.FS{"openat2": beneath, "os.Root": rootFS{root}}, err
}
