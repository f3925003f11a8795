package jail

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	maxImage  = 1 << 30
	dataSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_EXEC
)

// Image (算法镜像) is a plug-in's program in sealed memory, of the approved digest. It serves any number of starts.
type Image struct {
	file   *os.File
	size   int64
	digest [sm.Size]byte
}

// NewImage copies r into sealed memory and checks SM3 over what was sealed, so that nothing read, checked and executed can
// differ. Another digest than want is BadImage.
func NewImage(r io.Reader, want [sm.Size]byte) (*Image, error) {
	img, err := sealImage(r, true)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(img.digest[:], want[:]) != 1 {
		img.Close()
		return nil, &Fault{Op: "jail: image", Reason: BadImage, Object: hex.EncodeToString(want[:4]), Detail: "SM3 of the sealed image is not the approved one"}
	}
	return img, nil
}

// sealImage seals an image of any digest.
func sealImage(r io.Reader, exec bool) (*Image, error) {
	f, n, err := sealed("image", io.LimitReader(r, maxImage+1), exec)
	if err != nil {
		return nil, err
	}
	img := &Image{file: f, size: n}
	if n == 0 || n > maxImage {
		img.Close()
		return nil, &Fault{Op: "jail: image", Reason: BadImage, Detail: "an image has 1 byte to 1 GiB"}
	}
	h := sm.NewHash()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, n)); err != nil {
		img.Close()
		return nil, unavailable("image", err)
	}
	h.Sum(img.digest[:0])
	return img, nil
}

// Digest is SM3 of the image.
func (i *Image) Digest() [sm.Size]byte { return i.digest }

// Close frees the image once no plug-in is being started from it; those that run keep it.
func (i *Image) Close() error { return i.file.Close() }

// Dataset (入箱数据集) is what a plug-in may see, in sealed read-only memory. One serves any number of plug-ins.
type Dataset struct {
	file *os.File
	size int64
}

// NewDataset seals what fill writes. Only what the job is granted belongs there.
func NewDataset(fill func(io.Writer) error) (*Dataset, error) {
	f, err := memory("dataset", false)
	if err != nil {
		return nil, err
	}
	if err := fill(f); err != nil {
		f.Close()
		return nil, err
	}
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, unavailable("dataset", err)
	}
	ro, err := seal(f, false)
	if err != nil {
		return nil, err
	}
	return &Dataset{file: ro, size: n}, nil
}

// Size is the number of bytes.
func (d *Dataset) Size() int64 { return d.size }

// Close frees the data once the last plug-in that has them ended.
func (d *Dataset) Close() error { return d.file.Close() }

// memory makes an empty memory file that can be sealed.
func memory(name string, exec bool) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if exec {
		flags |= unix.MFD_EXEC
	} else {
		flags |= unix.MFD_NOEXEC_SEAL
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, unavailable(layerMemfd, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func sealed(name string, r io.Reader, exec bool) (*os.File, int64, error) {
	f, err := memory(name, exec)
	if err != nil {
		return nil, 0, err
	}
	n, err := io.Copy(f, r)
	if err != nil {
		f.Close()
		return nil, 0, unavailable(name, err)
	}
	ro, err := seal(f, exec)
	return ro, n, err
}

// seal closes f for every change and gives a read-only description of it. A read-only opening alone is not enough: procfs
// opens it again writable; the seal is what stops the write.
func seal(f *os.File, exec bool) (*os.File, error) {
	defer f.Close()
	// Sealing the execute bit of an executable one keeps it executable; the other form has none already.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, dataSeals); err != nil {
		return nil, unavailable(layerMemfd, err)
	}
	if got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || got&dataSeals != dataSeals {
		return nil, unavailable(layerMemfd, fmt.Errorf("seals %#x, wanted %#x", got, dataSeals))
	}
	return reopen(f)
}

// reopen gives a description of its own: one that two plug-ins shared would carry its offset between them.
func reopen(f *os.File) (*os.File, error) {
	ro, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDONLY, 0)
	if err != nil {
		return nil, unavailable("procfs", err)
	}
	return ro, nil
}

func unavailable(object string, err error) error {
	return &sandbox.Error{Op: "jail", Kind: sandbox.Unavailable, Object: object, Err: err}
}
