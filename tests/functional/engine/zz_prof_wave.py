import asyncio, os, time, cProfile, pstats, sys, threading, subprocess
import pytest
from tests.conftest import *
from tests.functional.engine.conftest import *
from ofctl.engine.startup import Host
N=int(os.environ.get("N","200"))
@pytest.fixture
def rundir():
    import tempfile, pathlib, shutil
    p = pathlib.Path(tempfile.mkdtemp(prefix="oft-", dir="/tmp")); yield p; shutil.rmtree(p, ignore_errors=True)
async def test_it(lab):
    o=lab.options
    lab.options=lambda **c: o(**c, max_ports=3000)
    await lab.stop(); await lab.start()
    t=time.monotonic()
    for i in range(0,N,100):
        await asyncio.gather(*(lab.plug(lab.spec(f"p{j}"), timeout_s=60) for j in range(i,min(i+100,N))))
    print("plug", N, time.monotonic()-t, file=sys.stderr)
    for what in ("right","right","right-prof","gone"):
        s=lab.host
        t=time.monotonic(); await lab.stop(); stop=time.monotonic()-t
        if what=="gone":
            lab.ovs.stop()
            lab.ovs.database.database.unlink()
            names=[l.split(":")[1].strip().split("@")[0] for l in subprocess.run(["ip","-o","link"],capture_output=True,text=True).stdout.splitlines()]
            subprocess.run(["ip","-force","-batch","-"],input="\n".join(f"link del {n}" for n in names if n.startswith("tap")),text=True)
            lab.ovs.start()
        if what.endswith("prof"):
            pr=cProfile.Profile(); pr.enable()
        t=time.monotonic(); c=time.process_time()
        await lab.start()
        dt=time.monotonic()-t
        print(what,"stop",round(stop,3),"start",round(dt,3),"cpu",round(time.process_time()-c,3),"waves",lab.host.database.waves_sent,"store",lab.host.store.transactions_sent, file=sys.stderr)
        if what.endswith("prof"):
            pr.disable(); pstats.Stats(pr,stream=sys.stderr).sort_stats("cumulative").print_stats(45)
        bad=[p for p in lab.engine.ports() if p.binding.state.value!="active"]
        print("not active",len(bad), bad[0].binding.state_reason if bad else "", file=sys.stderr)
