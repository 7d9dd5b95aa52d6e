package index_test
import ("testing";"context";"os";"fmt";"customhouse/index";"errors";"syscall")
func TestZZ(t *testing.T){
 os.RemoveAll("/tmp/tfull/i.db")
 db,err:=index.Open(context.Background(),"/tmp/tfull/i.db",index.Options{})
 if err!=nil{t.Fatal(err)}
 put(t,db,"a/b","x","l1")
 f,_:=os.Create("/tmp/tfull/ballast")
 for n:=1<<20;n>0;{ if k,err:=f.Write(make([]byte,n));err!=nil&&k==0{n/=2}}
 for i:=range 5 {
 err=db.EndUpload(context.Background(),fmt.Sprint("x",i))
 t.Logf("end %v %+v enospc %v",err,errors.Unwrap(err),errors.Is(err,syscall.ENOSPC))
 tg,_:=(func()(any,error){return nil,nil})()
 _=tg
 err=db.DeleteManifest(context.Background(),repo(t,"a/b"),index.Put{}.Manifest.Digest)
 t.Logf("delman %v",err)
 tt:=fmt.Sprintf("t%d",i)
 _=tt
 err=db.BeginUpload(context.Background(),index.Upload{ID:tt,Repo:repo(t,"a/b"),Algorithm:"sha256"},0)
 t.Logf("begin %v enospc %v",err,errors.Is(err,syscall.ENOSPC))
 }
 os.Remove("/tmp/tfull/ballast")
 for range 3 { err=db.BeginUpload(context.Background(),index.Upload{ID:"z2",Repo:repo(t,"a/b"),Algorithm:"sha256"},0); t.Log(err) }
 err=db.BeginUpload(context.Background(),index.Upload{ID:"zz",Repo:repo(t,"a/b"),Algorithm:"sha256"},0)
 t.Logf("begin %v",err)
 db.Close()
}
