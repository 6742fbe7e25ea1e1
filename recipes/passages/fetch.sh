#!/bin/sh
# Packages with English prose in them, into a folder: 2 GB down, of which the texts alone are unpacked.
#
#     sh fetch.sh work/packages
#
# apt is given lists and a cache of its own, so the system's stay as they are. It needs a Debian 12 machine, not root.
set -eu
mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/debs" "$1/tree" "$1/wheels" "$1/python"
cd "$1"
here=$(pwd)
options="-o Dir::State::lists=$here/lists -o Dir::Cache=$here/cache -o Acquire::GzipIndexes=false -o APT::Sandbox::User="
dictionaries="dict-gcide dict-foldoc dict-jargon dict-vera dict-elements dict-devil wordnet-base"
statistics="r-base-core r-cran-mass r-cran-boot r-cran-survival r-cran-lattice r-cran-nlme r-cran-mgcv r-cran-vegan
    r-cran-ape r-cran-lme4 r-cran-quantmod r-bioc-deseq2 r-bioc-limma r-cran-psych r-cran-car r-cran-ggplot2
    r-cran-dplyr r-cran-forecast r-cran-fields r-cran-plm r-cran-aer r-cran-ade4 r-cran-vcd r-cran-hsaur3
    r-cran-mlbench r-cran-tseries r-cran-fbasics r-cran-sf r-cran-sp r-bioc-biostrings r-bioc-dada2
    r-bioc-edger r-bioc-gsva r-bioc-phyloseq r-cran-adegenet r-cran-amelia r-cran-arm r-cran-bayesm
    r-cran-bio3d r-cran-bms r-cran-caret r-cran-cluster r-cran-cmprsk r-cran-coin r-cran-data.table
    r-cran-dynlm r-cran-e1071 r-cran-eco r-cran-effects r-cran-epi r-cran-epir r-cran-epitools
    r-cran-fassets r-cran-fportfolio r-cran-genetics r-cran-glmnet r-cran-gss r-cran-gstat
    r-cran-haplo.stats r-cran-hmisc r-cran-igraph r-cran-lavaan r-cran-lmtest r-cran-lubridate r-cran-maps
    r-cran-mclust r-cran-mcmcpack r-cran-metafor r-cran-mice r-cran-multcomp r-cran-party r-cran-performance
    r-cran-phangorn r-cran-phytools r-cran-popepi r-cran-qtl r-cran-randomforest r-cran-raster
    r-cran-relsurv r-cran-rms r-cran-rpart r-cran-rquantlib r-cran-sem r-cran-seqinr r-cran-seriation
    r-cran-shiny r-cran-sna r-cran-spatstat.data r-cran-spdata r-cran-spdep r-cran-surveillance r-cran-tgp
    r-cran-th.data r-cran-timereg r-cran-tm r-cran-urca"
handbooks="gnome-user-docs debian-handbook debian-faq debian-history debian-policy developers-reference doc-debian
    installation-guide-amd64 debian-edu-doc-en libreoffice-help-en-us gimp-help-en gnucash-docs
    inkscape-tutorials kicad-doc-en lilypond-doc-html csound-doc gnumeric-doc kstars-data kalzium
    khelpcenter"
computing="manpages manpages-dev git-doc perl-doc vim-runtime linux-doc-6.1 python3.11-doc postgresql-doc-15
    rust-doc apache2-doc sqlite3-doc postfix-doc python-django-doc nodejs-doc lintian wireshark-doc"
sciences="python-scipy-doc python-astropy-doc python-sklearn-doc python-sympy-doc python-statsmodels-doc
    python-pandas-doc python-biopython-doc octave-doc maxima-doc pari-doc gap-doc singular-doc scilab-doc
    abinit-doc lammps-doc grass-doc metamath-databases emboss-data python-skimage-doc python-dask-doc
    python-xarray-doc python-ase-doc python-nibabel-doc python-skbio-doc sagemath-doc pspp gnumed-doc
   "
stories="fortunes crawl-common freeciv-data cataclysm-dda-data endless-sky-data wesnoth-1.16-data stellarium-data
    wesnoth-1.16-did wesnoth-1.16-dm wesnoth-1.16-dw wesnoth-1.16-ei wesnoth-1.16-httt wesnoth-1.16-l
    wesnoth-1.16-low wesnoth-1.16-nr wesnoth-1.16-sof wesnoth-1.16-sota wesnoth-1.16-sotbe wesnoth-1.16-thot
    wesnoth-1.16-trow wesnoth-1.16-tsg wesnoth-1.16-ttb wesnoth-1.16-utbs sword-text-kjv sword-text-web
    sword-comm-mhcc sword-comm-tdavid anarchism"
desktop="aisleriot akregator artikulate blinken bovo brasero-common cantor cheese-common dolphin evince-common
    five-or-more four-in-a-row gnome-klotski gnome-mines gnome-nibbles gnome-robots gnome-sudoku
    gnome-tetravex granatier hitori iagno kanagram kapman kate5-data kblocks kbounce kbruch kdenlive-data
    kgeography-data khangman kig kigo kiten kjumpingcube kmahjongg kmplot kmymoney-common knights kolf
    konquest kontact kpat kreversi kshisen ksirk ksudoku kturtle kwordquiz lightsoff marble-data okular
    quadrapassel rhythmbox-data rocs skrooge-common step swell-foop tali tellico-doc totem-common"
wheels="google-api-python-client botocore simple-icd-10-cm"
printf '*.%s\n' png jpg jpeg gif svg svgz pdf ps ogg wav mp3 opus ttf so a webp fits cat fab dat cache.bz2 > pictures
apt-get $options -o Acquire::Languages=en update
cd debs
apt-get $options download $dictionaries $statistics $handbooks $computing $sciences $stories $desktop
for package in *.deb; do
    mkdir -p "../tree/${package%%_*}"
    dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "../tree/${package%%_*}" --exclude-from ../pictures
done
cd ../wheels
python3 -m pip download --quiet --no-deps $wheels
for package in *.whl; do
    python3 -m zipfile --extract "$package" ../python
done
cd ..
echo "$(ls debs | wc -l) Debian packages and $(ls wheels | wc -l) wheels, $(du -sm tree python | cut -f1 | xargs) MB unpacked"
