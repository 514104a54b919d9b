use lakekeep_seccomp::*;
fn main() {
    for name in Profile::BUILTIN {
        for arch in Arch::ALL {
            let t=std::time::Instant::now();
            let p = Profile::builtin(name).unwrap();
            let t1=t.elapsed();
            let prog = compile(&p, arch, Refusal::Errno).unwrap();
            let t2=t.elapsed();
            let n = compile(&p, arch, Refusal::Notify).unwrap();
            let steps: Vec<usize> = arch_calls(arch).map(|nr| prog.run(&SeccompData::call(arch, nr, [0;6])).1).collect();
            let mut bad=0;
            for nr in -2..600 { for a in [0u64, u64::MAX, 1<<32, 0x5412] { let d=SeccompData::call(arch,nr,[a;6]); for (r,q) in [(Refusal::Errno,&prog),(Refusal::Notify,&n)] { if decide(&p,arch,r,&d)!=q.evaluate(&d) {bad+=1;} } } }
            println!("{name} {arch}: {} allowed, {} instr, notify {}, steps max {} mean {:.1} bad {bad} parse {t1:?} total {t2:?}", p.allowed(arch).len(), prog.len(), n.len(), steps.iter().max().unwrap(), steps.iter().sum::<usize>() as f64 / steps.len() as f64);
        }
    }
    if let Some(a)=std::env::args().nth(1) { let p=compile(&Profile::builtin(&a).unwrap(),Arch::X86_64,Refusal::Errno).unwrap(); for (i,x) in p.instructions().iter().enumerate() { let c = match x.code {0x20=>"ld",0x54=>"and",5=>"ja",0x15=>"jeq",0x25=>"jgt",0x35=>"jge",0x45=>"jset",_=>"ret"}; println!("{i:3} {c:5} {:#x} ({}) -> {} {}   {}", x.k, x.k, i+1+x.jt as usize, i+1+x.jf as usize, syscall_name(Arch::X86_64,x.k as i64).unwrap_or("")); } }
}
fn arch_calls(arch: Arch) -> impl Iterator<Item=i32> { (0..470).filter(move |n| syscall_name(arch,*n as i64).is_some()) }
